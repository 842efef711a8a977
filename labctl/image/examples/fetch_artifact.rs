//! Fetches an artifact into a store: `fetch_artifact STORE ARTIFACT.json`; the file holds one artifact's declaration.

use labctl_image::{Event, Store};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(store), Some(path)) = (args.next(), args.next()) else {
        return Err("usage: fetch_artifact STORE ARTIFACT.json".into());
    };
    let artifact = serde_json::from_slice(&std::fs::read(&path)?)?;
    let started = std::time::Instant::now();
    let store = Store::open(store.as_ref())?;
    let show = |event: Event| eprintln!("{:6.2} {event:?}", started.elapsed().as_secs_f64());
    match store.artifact(&artifact, ".".as_ref(), &show).await {
        Ok(got) => println!("{got:#?}"),
        Err(error) => return Err(format!("{error}\n  hint: {}", error.hint()).into()),
    }
    eprintln!("{:6.2} s", started.elapsed().as_secs_f64());
    Ok(())
}
