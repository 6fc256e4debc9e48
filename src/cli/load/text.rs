//! The report for people.

use std::fmt::{self, Display, Formatter};

use super::report::Report;

fn row(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "  {name:<26} {value}")
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let parameters = &self.parameters;
        let tls = if parameters.tls { "TLS" } else { "no TLS" };
        writeln!(
            f,
            "{} to {}: {} pair{}, {} B, {} connections, {tls}",
            self.workload,
            parameters.router,
            parameters.pairs,
            if parameters.pairs == 1 { "" } else { "s" },
            parameters.size,
            parameters.connections
        )?;
        row(f, "seconds", format_args!("{:.3}", self.seconds))?;
        if self.messages > 0 {
            let rate = self.messages_per_second;
            row(
                f,
                "messages",
                format_args!("{}, {rate:.0}/s", self.messages),
            )?;
            let rate = self.mb_per_second;
            row(f, "bytes", format_args!("{}, {rate:.1} MB/s", self.bytes))?;
        }
        if self.unit != "message" && self.units > 0 {
            let rate = self.units_per_second;
            let name = format!("{}s", self.unit);
            row(f, &name, format_args!("{}, {rate:.1}/s", self.units))?;
        }
        let latencies = [
            ("latency", &self.latency),
            ("lateness", &self.lateness),
            ("PINGs", &self.pings),
        ];
        for (name, latency) in latencies {
            let Some(latency) = latency else { continue };
            let figures = format!(
                "p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1}",
                latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us
            );
            row(f, &format!("{name}, us"), figures)?;
        }
        self.fmt_router(f)?;
        let own = &self.generator;
        let cores = format_args!("{:.2} s, {:.2} cores", own.cpu_seconds, own.cores).to_string();
        row(f, "generator CPU", cores)?;
        for (name, value) in &self.extra {
            row(f, &name.replace('_', " "), format_args!("{value:.1}"))?;
        }
        for (status, count) in &self.statuses {
            row(f, "calls ended", format_args!("{count} with {status}"))?;
        }
        for (error, count) in &self.errors {
            row(f, "ERROR", format_args!("{count} x {error}"))?;
        }
        for warning in &self.warnings {
            row(f, "warning", warning)?;
        }
        Ok(())
    }
}

impl Report {
    fn fmt_router(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(router) = &self.router else {
            return Ok(());
        };
        let cpu = format!("{:.2} s, {:.2} cores", router.cpu_seconds, router.cores);
        row(f, "router CPU", cpu)?;
        if let Some(cpu) = router.cpu_seconds_per_gb {
            row(f, "router CPU per GB", format_args!("{cpu:.3} s"))?;
        }
        if let Some(cpu) = router.cpu_us_per_message {
            row(f, "router CPU per message", format_args!("{cpu:.3} us"))?;
        }
        if let Some(cpu) = router.cpu_us_per_unit.filter(|_| self.unit != "message") {
            let name = format!("router CPU per {}", self.unit);
            row(f, &name, format_args!("{cpu:.1} us"))?;
        }
        let pss = router
            .pss_kib
            .map_or_else(String::new, |pss| format!(", PSS {pss}"));
        let rss = format!("RSS {}, peak {}{pss}", router.rss_kib, router.rss_peak_kib);
        row(f, "router memory, KiB", rss)
    }
}
