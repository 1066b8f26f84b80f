//! The pages of memory that this process gets from the kernel.

/// Has the kernel use small pages only. Where it leaves the choice to programs, the allocator asks for pages of 2 MiB, and a service
/// with little to do needs few of the bytes of each: the one process took 103 MB instead of 72, and was not faster with them.
pub(crate) fn keep_small() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "the kernel uses large pages");
    }
}
