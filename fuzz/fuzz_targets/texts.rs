//! Texts people write: configuration, targets, durations, sizes, names.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(config) = rpo::config::Config::parse(text, Path::new("rpo.toml")) {
        let _ = config.validate();
        config.promises();
    }
    if let Ok(target) = text.parse::<rpo_core::target::Target>() {
        assert_eq!(target.to_string().parse(), Ok(target));
    }
    let _ = text.parse::<rpo_core::HumanDuration>();
    let _ = text.parse::<rpo_core::ByteSize>();
    let _ = text.parse::<rpo_core::SourceId>();
});
