//! Writes the seeds of every target below a folder: FOLDER/TARGET/seed-N.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    let root = PathBuf::from(std::env::args_os().nth(1).ok_or_else(|| std::io::Error::other("usage: seeds FOLDER"))?);
    for (target, _) in tapline_fuzz::TARGETS {
        let folder = root.join(target);
        std::fs::create_dir_all(&folder)?;
        for (number, seed) in tapline_fuzz::seeds::of(target).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
