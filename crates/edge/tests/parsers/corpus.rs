//! Recorded bytes, from `testdata`.

use std::{fs, path::Path};

/// The name and the bytes of every file in `testdata/FOLDER`, in the order of names.
pub fn recorded(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(folder);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("a folder of testdata")
        .map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("a readable file"))
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "nothing recorded in {}", folder.display());
    files
}
