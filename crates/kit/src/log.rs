//! The log, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{ConfigError, Environment, variables};

/// Starts logging as `TURNPIKE_LOG` (a filter such as `info` or `turnpike_bus=debug,info`) and `TURNPIKE_LOG_FORMAT` (`pretty`
/// or `json`) say. A second call in one process changes nothing.
pub(crate) fn init(env: &Environment) -> Result<(), ConfigError> {
    let expected = "a log filter such as info or turnpike_bus=debug,info";
    let filter = env.parse::<EnvFilter>(&variables::LOG, expected, |_| true)?;
    // A bare word that is no level would be read as the name of a module, and silence all others.
    let is_no_level = |word: &str| !word.contains(['=', '[', ':']) && word.trim().parse::<LevelFilter>().is_err();
    if env.get(&variables::LOG).is_some_and(|text| text.split(',').any(is_no_level)) {
        return Err(env.invalid(&variables::LOG, expected));
    }
    let json = match env.get(&variables::LOG_FORMAT) {
        None => !std::io::stderr().is_terminal(),
        Some("json") => true,
        Some("pretty") => false,
        Some(_) => return Err(env.invalid(&variables::LOG_FORMAT, "pretty or json")),
    };
    let registry = tracing_subscriber::registry().with(filter);
    // Fails only if a subscriber is set already.
    let _ = if json {
        let layer = fmt::layer().json().flatten_event(true).with_current_span(true).with_span_list(false);
        registry.with(layer.with_writer(std::io::stderr)).try_init()
    } else {
        let ansi = std::io::stderr().is_terminal();
        registry.with(fmt::layer().with_ansi(ansi).with_target(false).with_writer(std::io::stderr)).try_init()
    };
    Ok(())
}
