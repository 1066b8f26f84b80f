//! Faults as gRPC statuses, with the error details of google.rpc that any gRPC client can read.

use std::{borrow::Cow, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{Fault, FieldError, Kind};

/// `ErrorInfo.domain` of the statuses of this program; a status of another domain has none of its codes.
const DOMAIN: &str = "turnpike";
/// `ErrorInfo.metadata` key that distinguishes `Invalid` from `Validation`, which are one code in gRPC.
const KIND: &str = "kind";

impl Kind {
    /// The gRPC code of this kind.
    pub const fn grpc_code(self) -> Code {
        match self {
            Self::Unauthenticated => Code::Unauthenticated,
            Self::Forbidden => Code::PermissionDenied,
            Self::NotFound => Code::NotFound,
            Self::Invalid | Self::Validation => Code::InvalidArgument,
            Self::Conflict => Code::FailedPrecondition,
            Self::TooLarge => Code::OutOfRange,
            Self::RateLimited => Code::ResourceExhausted,
            Self::Timeout => Code::DeadlineExceeded,
            Self::Unavailable => Code::Unavailable,
            Self::Unimplemented => Code::Unimplemented,
            Self::Internal => Code::Internal,
        }
    }

    /// The kind of a status that another program created.
    const fn of_grpc(code: Code) -> Self {
        match code {
            Code::Unauthenticated => Self::Unauthenticated,
            Code::PermissionDenied => Self::Forbidden,
            Code::NotFound => Self::NotFound,
            Code::InvalidArgument => Self::Invalid,
            Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => Self::Conflict,
            Code::OutOfRange => Self::TooLarge,
            Code::ResourceExhausted => Self::RateLimited,
            // tonic reports its own time-out as Cancelled
            Code::DeadlineExceeded | Code::Cancelled => Self::Timeout,
            Code::Unavailable => Self::Unavailable,
            Code::Unimplemented => Self::Unimplemented,
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss => Self::Internal,
        }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let mut details = ErrorDetails::new();
        let mut metadata = std::collections::HashMap::new();
        if fault.kind == Kind::Validation {
            metadata.insert(KIND.to_owned(), Kind::Validation.default_code().to_owned());
        }
        details.set_error_info(fault.code, DOMAIN, metadata);
        for FieldError { field, message } in fault.fields {
            details.add_bad_request_violation(field, message);
        }
        if let Some(after) = fault.retry_after {
            details.set_retry_info(Some(after));
        }
        Self::with_error_details(fault.kind.grpc_code(), fault.detail, details)
    }
}

impl From<&Status> for Fault {
    /// A status of this program is restored completely. A status of another program (a proxy, tonic itself) keeps its kind and
    /// gets a general sentence: its own could reveal internals.
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let mut kind = Kind::of_grpc(status.code());
        let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN) else {
            return Self::new(kind, foreign_detail(kind));
        };
        if kind == Kind::Invalid && info.metadata.contains_key(KIND) {
            kind = Kind::Validation;
        }
        let fields = details
            .bad_request()
            .map(|bad| {
                let field = |v: &tonic_types::FieldViolation| FieldError {
                    field: v.field.clone(),
                    message: v.description.clone(),
                };
                bad.field_violations.iter().map(field).collect()
            })
            .unwrap_or_default();
        let retry_after: Option<Duration> = details.retry_info().and_then(|retry| retry.retry_delay);
        Self { kind, code: info.reason.clone().into(), detail: status.message().to_owned().into(), fields, retry_after }
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

const fn foreign_detail(kind: Kind) -> Cow<'static, str> {
    Cow::Borrowed(match kind {
        Kind::Unavailable => "A service that this needs cannot be reached; try again shortly",
        Kind::Timeout => "A service that this needs did not answer in time",
        Kind::Internal => "Something went wrong on our side",
        Kind::Unauthenticated => "Missing or invalid credential",
        Kind::Forbidden => "Not allowed",
        Kind::NotFound => "Not found",
        Kind::Conflict => "The current state does not allow this",
        Kind::RateLimited => "Too many requests",
        Kind::TooLarge => "Too large",
        Kind::Unimplemented => "Not available here",
        Kind::Invalid | Kind::Validation => "The request is not valid",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_grpc_in_both_directions() {
        for kind in Kind::ALL {
            let sent = Fault::new(kind, "what a caller may read")
                .code_is("SOME_CODE")
                .field("ecuAddress", "must look like 0x10")
                .retry_after(Duration::from_millis(1200));
            let received = Fault::from(Status::from(sent.clone()));
            assert_eq!(received, sent);
            assert_eq!(received.retry_in(), Some(Duration::from_secs(2)), "rounded up to whole seconds");
        }
    }

    #[test]
    fn every_kind_has_an_http_status_of_its_own() {
        let mut statuses: Vec<_> = Kind::ALL.iter().map(|k| k.http_status().as_u16()).collect();
        statuses.sort_unstable();
        statuses.dedup();
        assert_eq!(statuses.len(), Kind::ALL.len());
        assert!(statuses.iter().all(|s| (400..600).contains(s)));
    }

    #[test]
    fn a_foreign_status_keeps_its_kind_and_loses_its_sentence() {
        let fault = Fault::from(Status::internal("SELECT secret FROM users"));
        assert_eq!(fault.kind(), Kind::Internal);
        assert!(!fault.detail().contains("secret"));
    }
}
