//! The two text formats that readers of metrics ask for, and which of them a reader gets.

/// Names a text format that readers may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// The format of Prometheus, version 0.0.4, which every reader understands.
    Prometheus,
}

/// Says how well a media range fits a format; the better one decides, RFC 9110, section 12.5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// `*/*`
    Any,
    /// `type/*`
    Type,
    /// The format's name, without a version.
    Name,
    /// The format's name and version.
    Version,
}

impl Format {
    /// Gives the `Content-Type` of a text in this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// Gives its name, as type and subtype, and its version.
    const fn name(self) -> ([&'static str; 2], &'static str) {
        match self {
            Self::OpenMetrics => (["application", "openmetrics-text"], "1.0.0"),
            Self::Prometheus => (["text", "plain"], "0.0.4"),
        }
    }

    /// Chooses what to answer to a request with these values of `Accept`.
    ///
    /// It is `OpenMetrics` for whoever names it and does not want the other more. Whoever accepts neither gets what is
    /// understood everywhere, as with other Prometheus clients: a person with a browser still reads it.
    pub fn accepted<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let ranges: Vec<_> = values
            .into_iter()
            .flat_map(|value| value.split(','))
            .collect();
        let wanted = |format: Self| {
            let fits = ranges.iter().filter_map(|range| format.fit(range));
            fits.max_by_key(|(fit, _)| *fit)
        };
        match (wanted(Self::OpenMetrics), wanted(Self::Prometheus)) {
            (Some((fit, quality)), other)
                if fit >= Fit::Name
                    && quality > 0
                    && other.is_none_or(|(_, other)| quality >= other) =>
            {
                Self::OpenMetrics
            }
            (Some((_, quality)), other) if quality > other.map_or(0, |(_, other)| other) => {
                Self::OpenMetrics
            }
            _ => Self::Prometheus,
        }
    }

    /// Says how well a media range fits, and its weight in thousandths. `None`: it is for something else.
    fn fit(self, range: &str) -> Option<(Fit, u32)> {
        let mut parts = range.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let ([own_kind, own_subtype], own_version) = self.name();
        let mut fit = if kind == "*" && subtype == "*" {
            Fit::Any
        } else if !kind.eq_ignore_ascii_case(own_kind) {
            return None;
        } else if subtype == "*" {
            Fit::Type
        } else if subtype.eq_ignore_ascii_case(own_subtype) {
            Fit::Name
        } else {
            return None;
        };
        let mut quality = 1_000;
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                quality = thousandths(value);
            } else if name.eq_ignore_ascii_case("version") && fit == Fit::Name {
                fit = (value == own_version).then_some(Fit::Version)?;
            }
        }
        Some((fit, quality))
    }
}

/// Reads a weight between 0 and 1. What is none counts as 0: the reader did not mean this.
fn thousandths(weight: &str) -> u32 {
    let weight: f64 = weight.parse().unwrap_or(0.0);
    // In range, and NaN becomes 0.
    #[allow(clippy::cast_sign_loss, reason = "it is clamped")]
    let thousandths = (weight.clamp(0.0, 1.0) * 1_000.0).round() as u32;
    thousandths
}

/// Writes the same metrics in the format of Prometheus: counters have their whole name in the comments, too, and there
/// are neither units nor an end mark.
pub(super) fn to_prometheus(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // Whether it is about a counter stands in the next line.
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = type_of(line) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take() {
                out.extend(["# HELP ", name, suffix, " ", help, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([line, "\n"]);
        }
    }
    out
}

fn type_of(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_get_what_they_ask_for() {
        use Format::{OpenMetrics, Prometheus};
        // Of Prometheus 3, of Prometheus 2, of Grafana's and other agents, of curl and of browsers.
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus_2 =
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (accept, format) in [
            (prometheus_3, OpenMetrics),
            (prometheus_2, Prometheus),
            (browser, Prometheus),
            (protobuf, Prometheus),
            ("*/*", Prometheus),
            ("", Prometheus),
            ("nonsense", Prometheus),
            ("text/plain", Prometheus),
            ("text/*", Prometheus),
            ("text/plain;version=1.0.0", Prometheus),
            ("application/openmetrics-text", OpenMetrics),
            (
                "Application/OpenMetrics-Text; Version=\"1.0.0\"",
                OpenMetrics,
            ),
            ("application/openmetrics-text;version=2.0.0", Prometheus),
            ("application/*", OpenMetrics),
            ("application/*;q=0", Prometheus),
            ("text/plain, application/openmetrics-text", OpenMetrics),
            ("text/plain, application/openmetrics-text;q=0.9", Prometheus),
            (
                "text/plain;q=0.1, application/openmetrics-text;q=0.2",
                OpenMetrics,
            ),
            ("text/plain;q=0, */*;q=0.1", OpenMetrics),
            ("application/openmetrics-text;q=0, */*", Prometheus),
            ("application/openmetrics-text;q=x", Prometheus),
            ("application/openmetrics-text;q=0.5, */*;q=0.1", OpenMetrics),
        ] {
            assert_eq!(Format::accepted([accept]), format, "{accept}");
        }
        assert_eq!(Format::accepted([]), Prometheus);
        let lines = ["text/plain;q=0.5", "application/openmetrics-text"];
        assert_eq!(Format::accepted(lines), OpenMetrics, "two lines");
    }

    #[test]
    fn comments_name_the_series_and_nothing_else_is_left() {
        let text = "# HELP a_bytes A thing with # and _total.\n# TYPE a_bytes counter\n# UNIT a_bytes bytes\n\
                    a_bytes_total{x=\"# y\"} 1\n# HELP b B.\n# TYPE b gauge\nb 2\n\
                    # HELP c C.\n# TYPE c histogram\nc_sum 0.0\nc_bucket{le=\"+Inf\"} 0\n# EOF\n";
        let expected = "# HELP a_bytes_total A thing with # and _total.\n# TYPE a_bytes_total counter\n\
                        a_bytes_total{x=\"# y\"} 1\n# HELP b B.\n# TYPE b gauge\nb 2\n\
                        # HELP c C.\n# TYPE c histogram\nc_sum 0.0\nc_bucket{le=\"+Inf\"} 0\n";
        assert_eq!(to_prometheus(text), expected);
    }
}
