//! The machine or container in which this process runs.

/// Its name, for people; in Kubernetes the name of the pod.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
