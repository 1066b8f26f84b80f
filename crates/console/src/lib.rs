#![doc = include_str!("../README.md")]

include!(concat!(env!("OUT_DIR"), "/files.rs"));

/// An embedded file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// The value of `Content-Type`.
    pub media_type: &'static str,
    /// The content.
    pub plain: &'static [u8],
    /// The content, compressed with Brotli.
    pub brotli: &'static [u8],
}

/// The file at this path, such as `index.html` or `ui/tags.js`.
pub fn asset(path: &str) -> Option<Asset> {
    let found = FILES.binary_search_by_key(&path, |(path, _)| path).ok()?;
    Some(FILES[found].1)
}

/// The paths of all files.
pub fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(path, _)| *path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_and_the_page_names_only_files_that_exist() {
        assert!(
            paths().all(|path| asset(path).is_some_and(|asset| !asset.plain.is_empty() && !asset.brotli.is_empty()))
        );
        assert!(asset("").is_none() && asset("../Cargo.toml").is_none() && asset("vendor/VENDOR").is_none());
        let page = std::str::from_utf8(asset("index.html").expect("the page").plain).expect("text");
        let prefix = format!("/console/@{HASH}/");
        let named: Vec<_> = page.split('"').filter_map(|text| text.strip_prefix(prefix.as_str())).collect();
        assert!(named.len() > 5 && named.iter().all(|path| asset(path).is_some()), "{named:?}");
    }

    /// What the first picture and the whole console cost a browser that has nothing yet.
    #[test]
    fn the_files_are_small() {
        let page = std::str::from_utf8(asset("index.html").expect("the page").plain).expect("text");
        let size = |path: &str| asset(path).map_or(0, |asset| asset.brotli.len());
        let start: usize =
            paths().filter(|path| *path == "index.html" || page.contains(&format!("/{path}\""))).map(size).sum();
        let all: usize = paths().filter(|path| !path.starts_with("vendor/hljs/")).map(size).sum();
        assert!(start <= 60 << 10, "{start} bytes at the start");
        assert!(all <= 160 << 10, "{all} bytes in all");
    }
}
