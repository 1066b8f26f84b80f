//! Which caller may call which method. Each service has one table; a method that is not in it is refused.

use prost::Message;
use turnpike_fault::{Fault, Kind};
use turnpike_token::Role;

/// The requirement of a method for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: the request itself holds the credential, or the port is private.
    Anyone,
    /// A valid access token of at least this role.
    Role(Role),
}

/// Rows of `("/package.Service/Method", who may call it)`.
pub type Policy = &'static [(&'static str, Access)];

/// Methods that every service has.
const COMMON: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection."];

/// What the table requires for a path; `None` is a refusal.
pub(crate) fn access(policy: Policy, path: &str) -> Option<Access> {
    if COMMON.iter().any(|prefix| path.starts_with(prefix)) {
        return Some(Access::Anyone);
    }
    policy.iter().find(|(method, _)| *method == path).map(|(_, access)| *access)
}

/// Whether a caller with this role may call; `None` is a call without a credential.
pub(crate) fn admit(access: Access, role: Option<Role>) -> Result<(), Fault> {
    match (access, role) {
        (Access::Anyone, _) => Ok(()),
        (Access::Role(_), None) => Err(Fault::new(Kind::Unauthenticated, "Missing authentication token")),
        (Access::Role(least), Some(role)) if role >= least => Ok(()),
        (Access::Role(least), Some(_)) => Err(Fault::new(Kind::Forbidden, format!("This needs the role {least}"))),
    }
}

/// The services whose methods are in a table.
pub(crate) fn services(policy: Policy) -> Vec<&'static str> {
    let mut names: Vec<_> = policy.iter().filter_map(|(method, _)| method.get(1..)?.split('/').next()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Methods of the table's services that have no row, and rows that name no method. A test of each service requires that there
/// are none.
pub fn mismatches(policy: Policy) -> Vec<String> {
    let set = prost_types::FileDescriptorSet::decode(turnpike_proto::DESCRIPTORS).expect("our own descriptors");
    let services = services(policy);
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let name = format!("{}.{}", file.package(), service.name());
            if services.contains(&name.as_str()) {
                methods.extend(service.method.iter().map(|method| format!("/{name}/{}", method.name())));
            }
        }
    }
    let unlisted = methods.iter().filter(|m| !policy.iter().any(|(row, _)| row == m)).cloned();
    let unknown = policy.iter().map(|(row, _)| (*row).to_owned()).filter(|row| !methods.contains(row));
    unlisted.chain(unknown).collect()
}
