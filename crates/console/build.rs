//! Writes the table of the embedded files: path, media type, content, and the content compressed with Brotli. One hash of all files
//! stands in every address, so an address never gets another content.

use std::{
    collections::BTreeMap,
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

const INDEX: &str = "index.html";
const CLIENT: &str = "client/turnpike.js";
const CLIENT_TYPES: &str = "client/turnpike.d.ts";
/// The modules that the first picture needs. The page asks for them at once, before the modules that import them have arrived.
const SHELL: [&str; 4] = ["live/", "ui/", "vendor/preact", "vendor/signals"];

#[expect(clippy::disallowed_methods, reason = "cargo passes paths to a build script in the environment")]
fn main() -> io::Result<()> {
    let crate_folder = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let (assets, client) = (crate_folder.join("assets"), crate_folder.join("../../clients/javascript"));
    for path in [&assets, &client.join("turnpike.js"), &client.join("turnpike.d.ts")] {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let mut files = BTreeMap::new();
    collect(&assets, &assets, &mut files)?;
    files.insert(CLIENT.to_owned(), fs::read(client.join("turnpike.js"))?);
    files.insert(CLIENT_TYPES.to_owned(), fs::read(client.join("turnpike.d.ts"))?);
    files.retain(|path, _| path == CLIENT_TYPES || served(path));

    let hash = hash_of(&files);
    let index = files.remove(INDEX).expect("assets/index.html");
    let preload: String = files
        .keys()
        .filter(|path| path.ends_with(".js") && (*path == CLIENT || SHELL.iter().any(|shell| path.starts_with(shell))))
        .map(|path| format!("<link rel=\"modulepreload\" href=\"/console/@{hash}/{path}\">\n"))
        .collect();
    let index = String::from_utf8(index).expect("text").replace("@PRELOAD@", &preload).replace("@HASH@", &hash);
    files.insert(INDEX.to_owned(), index.into_bytes());

    let mut table = format!(
        "/// The hash of all files.\npub const HASH: &str = \"{hash}\";\n\nstatic FILES: &[(&str, Asset)] = &[\n"
    );
    for (number, (path, content)) in files.iter().enumerate() {
        let (plain, brotli) = (out.join(format!("{number}.plain")), out.join(format!("{number}.br")));
        fs::write(&plain, content)?;
        fs::write(&brotli, compress(content)?)?;
        let media_type = media_type(path);
        writeln!(
            table,
            "    ({path:?}, Asset {{ media_type: {media_type:?}, plain: include_bytes!({plain:?}), brotli: include_bytes!({brotli:?}) }}),"
        )
        .expect("a String can be written");
    }
    table.push_str("];\n");
    fs::write(out.join("files.rs"), table)
}

/// Types of the vendored libraries and notes about them are for `tsc` and for people.
fn served(path: &str) -> bool {
    !path.ends_with(".d.ts") && Path::new(path).extension().is_some()
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else {
            let name = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8").replace('\\', "/");
            files.insert(name, fs::read(&path)?);
        }
    }
    Ok(())
}

fn hash_of(files: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for (path, content) in files {
        hash.update((path.len() as u64).to_le_bytes());
        hash.update(path);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String can be written");
        text
    })
}

fn compress(content: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressed = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams { quality: 9, lgwin: 20, ..Default::default() };
    brotli::BrotliCompress(&mut &*content, &mut compressed, &parameters)?;
    Ok(compressed)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("ts") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        other => panic!("{path}: build.rs does not know the media type of {other:?}"),
    }
}
