//! Builds an image in a store: `build_image STORE SUITE [PACKAGE...]`. Prints the paths of its parts.

use labctl_image::{Event, Store};
use labctl_spec::image::{Bootstrap, Image, ImageSource};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(store), Some(suite)) = (args.next(), args.next()) else {
        return Err("usage: build_image STORE SUITE [PACKAGE...]".into());
    };
    let image = Image {
        name: format!("debian-{suite}"),
        description: String::new(),
        source: ImageSource::Bootstrap(Bootstrap { suite, mirror: None, packages: args.collect(), size: None }),
    };
    let started = std::time::Instant::now();
    let store = Store::open(store.as_ref())?;
    let show = |event: Event| eprintln!("{:6.2} {event:?}", started.elapsed().as_secs_f64());
    match store.image(&image, ".".as_ref(), &show).await {
        Ok(image) => println!("{image:#?}"),
        Err(error) => return Err(format!("{error}\n  hint: {}", error.hint()).into()),
    }
    eprintln!("{:6.2} s", started.elapsed().as_secs_f64());
    Ok(())
}
