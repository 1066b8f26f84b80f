//! The bytes between a tester and a control unit: the part of UDS (ISO 14229-1) that the commands need.

/// ECUReset.
pub(crate) const RESET: u8 = 0x11;
/// ClearDiagnosticInformation.
pub(crate) const CLEAR: u8 = 0x14;
/// ReadDTCInformation.
pub(crate) const READ_DTC: u8 = 0x19;
/// ReadDataByIdentifier.
pub(crate) const READ_DATA: u8 = 0x22;
/// RoutineControl.
pub(crate) const ROUTINE: u8 = 0x31;

/// The first byte of a positive answer is that of the request plus this.
pub(crate) const POSITIVE: u8 = 0x40;
/// The first byte of every negative answer.
pub(crate) const NEGATIVE: u8 = 0x7f;

/// Negative response codes.
pub(crate) mod nrc {
    pub(crate) const SUB_FUNCTION_NOT_SUPPORTED: u8 = 0x12;
    pub(crate) const INCORRECT_LENGTH: u8 = 0x13;
    pub(crate) const CONDITIONS_NOT_CORRECT: u8 = 0x22;
    pub(crate) const SEQUENCE_ERROR: u8 = 0x24;
    pub(crate) const OUT_OF_RANGE: u8 = 0x31;
    pub(crate) const SECURITY: u8 = 0x33;
    pub(crate) const PENDING: u8 = 0x78;
    pub(crate) const SPEED_TOO_HIGH: u8 = 0x88;
    pub(crate) const SERVICE_NOT_SUPPORTED: u8 = 0x11;
}

/// `7F service code`.
pub(crate) fn negative(service: u8, code: u8) -> Vec<u8> {
    vec![NEGATIVE, service, code]
}

/// The name of a code in the standard.
pub(crate) fn nrc_name(code: u8) -> &'static str {
    match code {
        0x10 => "generalReject",
        0x11 => "serviceNotSupported",
        0x12 => "subFunctionNotSupported",
        0x13 => "incorrectMessageLengthOrInvalidFormat",
        0x14 => "responseTooLong",
        0x21 => "busyRepeatRequest",
        0x22 => "conditionsNotCorrect",
        0x24 => "requestSequenceError",
        0x25 => "noResponseFromSubnetComponent",
        0x31 => "requestOutOfRange",
        0x33 => "securityAccessDenied",
        0x35 => "invalidKey",
        0x36 => "exceedNumberOfAttempts",
        0x37 => "requiredTimeDelayNotExpired",
        0x70 => "uploadDownloadNotAccepted",
        0x72 => "generalProgrammingFailure",
        0x78 => "requestCorrectlyReceived-ResponsePending",
        0x7e => "subFunctionNotSupportedInActiveSession",
        0x7f => "serviceNotSupportedInActiveSession",
        0x81 => "rpmTooHigh",
        0x83 => "engineIsRunning",
        0x88 => "vehicleSpeedTooHigh",
        0x92 => "voltageTooHigh",
        0x93 => "voltageTooLow",
        _ => "unknown code",
    }
}
