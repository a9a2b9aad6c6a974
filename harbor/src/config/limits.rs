//! The limits and times of a harbor as they are called in the file.

use std::time::Duration;

use seaway::Config;

/// A field of [`Config`].
#[derive(Debug)]
pub(crate) enum Limit {
    /// A size in bytes, or a count.
    Number(fn(&mut Config) -> &mut usize),
    /// In the file in milliseconds.
    Time(fn(&mut Config) -> &mut Duration),
}

impl Limit {
    /// The field of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        LIMITS.iter().find(|(known, _)| *known == name).map(|(_, limit)| limit)
    }

    pub(crate) fn set(&self, config: &mut Config, value: u64) {
        match self {
            Self::Number(field) => *field(config) = usize::try_from(value).unwrap_or(usize::MAX),
            Self::Time(field) => *field(config) = Duration::from_millis(value),
        }
    }

    pub(crate) fn get(&self, config: &Config) -> u64 {
        let mut config = config.clone();
        match self {
            Self::Number(field) => u64::try_from(*field(&mut config)).unwrap_or(u64::MAX),
            Self::Time(field) => millis(*field(&mut config)),
        }
    }
}

/// A time as the file has it.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// All of them, by name.
pub(crate) const LIMITS: [(&str, Limit); 23] = [
    ("frame_bytes_max", Limit::Number(|config| &mut config.frame_bytes_max)),
    ("outbox_bytes_max", Limit::Number(|config| &mut config.outbox_bytes_max)),
    ("outbox_reserve_bytes", Limit::Number(|config| &mut config.outbox_reserve_bytes)),
    ("calls_max", Limit::Number(|config| &mut config.calls_max)),
    ("requests_max", Limit::Number(|config| &mut config.requests_max)),
    ("request_bytes_max", Limit::Number(|config| &mut config.request_bytes_max)),
    ("pair_bytes_max", Limit::Number(|config| &mut config.pair_bytes_max)),
    ("pairs_max", Limit::Number(|config| &mut config.pairs_max)),
    ("relay_bytes_max", Limit::Number(|config| &mut config.relay_bytes_max)),
    ("streams_max", Limit::Number(|config| &mut config.streams_max)),
    ("stream_growth_bytes_max", Limit::Number(|config| &mut config.stream_growth_bytes_max)),
    ("streams_per_connection_max", Limit::Number(|config| &mut config.streams_per_connection_max)),
    ("unauthenticated_max", Limit::Number(|config| &mut config.unauthenticated_max)),
    ("unauthenticated_per_ip_max", Limit::Number(|config| &mut config.unauthenticated_per_ip_max)),
    ("call_timeout_ms", Limit::Time(|config| &mut config.call_timeout)),
    ("message_timeout_ms", Limit::Time(|config| &mut config.message_timeout)),
    ("heartbeat_ms", Limit::Time(|config| &mut config.heartbeat)),
    ("connect_timeout_ms", Limit::Time(|config| &mut config.connect_timeout)),
    ("handshake_timeout_ms", Limit::Time(|config| &mut config.handshake_timeout)),
    ("backoff_min_ms", Limit::Time(|config| &mut config.backoff_min)),
    ("backoff_max_ms", Limit::Time(|config| &mut config.backoff_max)),
    ("stream_idle_timeout_ms", Limit::Time(|config| &mut config.stream_idle_timeout)),
    ("stop_timeout_ms", Limit::Time(|config| &mut config.stop_timeout)),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What stands elsewhere in the file.
    const OTHERS: [&str; 3] = ["deployment", "insecure_remote", "version_label"];

    #[test]
    fn every_field_of_the_config_can_be_set() {
        // The only list of its fields that there is: `Config { deployment: "default", … }`.
        let printed = format!("{:#?}", Config::default());
        let fields = printed.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(':'));
        let fields: BTreeSet<_> = fields.map(|(field, _)| field).collect();
        let limits = LIMITS.iter().map(|(name, _)| name.strip_suffix("_ms").unwrap_or(name));
        let known: BTreeSet<_> = limits.chain(OTHERS).collect();
        assert_eq!(fields, known, "left: of the config; right: that can be set");
    }

    #[test]
    fn a_limit_sets_the_field_of_its_name() {
        for (name, limit) in &LIMITS {
            let mut config = Config::default();
            limit.set(&mut config, 123);
            assert_eq!(limit.get(&config), 123, "{name}");
            let field = name.strip_suffix("_ms").unwrap_or(name);
            let wanted = [format!("{field}: 123,"), format!("{field}: 123ms,")];
            let printed = format!("{config:?}");
            assert!(wanted.iter().any(|wanted| printed.contains(wanted)), "{name}: {printed}");
        }
    }
}
