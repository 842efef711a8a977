//! Writes a NoCloud seed: `write_seed SEED FILE...`. Each file is placed in the seed's root folder under its own
//! name.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let seed = args.next().ok_or("usage: write_seed SEED FILE...")?;
    let mut files = Vec::new();
    for path in args {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or("a file has no name")?.to_string();
        files.push((name, std::fs::read(&path)?));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (name.as_str(), content.as_slice())).collect();
    labctl_image::seed::write_seed(&seed, &files)?;
    Ok(())
}
