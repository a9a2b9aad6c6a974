//! Generates a module for each file in `proto/`.

use std::path::PathBuf;

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let mut protos = Vec::<PathBuf>::new();
    for entry in std::fs::read_dir("proto")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            protos.push(path);
        }
    }
    seaway_codegen::configure().prost(|prost| prost.include_file("all.rs")).compile(protos)
}
