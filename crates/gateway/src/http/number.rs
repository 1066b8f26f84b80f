//! Whole numbers in request bodies. JSON does not distinguish 30 from 30.0, nor does JSON Schema.

use std::ops::RangeInclusive;

use serde_json::Number;
use turnpike_fault::{Fault, Kind};

/// The value of a field that must be a whole number in this range, whose ends are below 2^53.
pub(crate) fn whole(field: &str, number: &Number, range: RangeInclusive<u64>) -> Result<u64, Fault> {
    let (least, most) = range.into_inner();
    let whole = number.as_f64().filter(|number| number.fract() == 0.0 && (least as f64..=most as f64).contains(number));
    whole.map(|number| number as u64).ok_or_else(|| {
        Fault::new(Kind::Validation, "The body is not valid")
            .field(field, format!("must be a whole number from {least} to {most}"))
    })
}

/// As [`whole`], for a field that may be absent.
pub(crate) fn optional(field: &str, number: Option<&Number>, range: RangeInclusive<u64>) -> Result<Option<u64>, Fault> {
    number.map(|number| whole(field, number, range)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_whole_however_it_is_written() {
        let parsed = |text: &str| whole("n", &text.parse().expect("a number"), 1..=3600).ok();
        assert_eq!((parsed("30"), parsed("30.0"), parsed("3.6e3")), (Some(30), Some(30), Some(3600)));
        for refused in ["0", "3601", "-1", "1.5", "1e300"] {
            assert_eq!(parsed(refused), None, "{refused}");
        }
    }
}
