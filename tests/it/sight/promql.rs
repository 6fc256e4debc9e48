//! Checks expressions against what is exposed: names, suffixes, labels and their values.

use std::collections::BTreeSet;

use promql_parser::{
    label::MatchOp,
    parser::{self, Expr, LabelModifier, VectorSelector},
};

use super::exposition::Exposition;

/// What Prometheus adds to every series of a scrape.
const TARGET: [&str; 2] = ["job", "instance"];

/// What Prometheus itself notes of every target: whether it has answered.
const UP: &str = "up";

type Labels = BTreeSet<String>;

/// The labels of the expression's result, or what is wrong with it.
pub fn check(exposed: &Exposition, text: &str) -> Result<Labels, String> {
    let expr = parser::parse(text).map_err(|error| format!("{text}: {error}"))?;
    if matches!(expr, Expr::MatrixSelector(_)) {
        return Err(format!("{text}: a range is no result"));
    }
    labels(exposed, &expr).map_err(|why| format!("{text}: {why}"))
}

/// The series that the expression asks for.
pub fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours =
        |word: &&str| word.starts_with("jumpstarter_router_") || word.starts_with("process_");
    words.filter(ours).map(ToOwned::to_owned).collect()
}

fn labels(exposed: &Exposition, expr: &Expr) -> Result<Labels, String> {
    match expr {
        Expr::VectorSelector(selector) => selected(exposed, selector),
        Expr::MatrixSelector(selector) => selected(exposed, &selector.vs),
        Expr::Paren(inner) => labels(exposed, &inner.expr),
        Expr::Unary(inner) => labels(exposed, &inner.expr),
        Expr::Subquery(inner) => labels(exposed, &inner.expr),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Labels::new()),
        Expr::Binary(binary) => {
            let (left, right) = (labels(exposed, &binary.lhs)?, labels(exposed, &binary.rhs)?);
            // With a number on one side the result is like the other side; else like the left one, as all is matched
            // many to one here.
            Ok(if left.is_empty() { right } else { left })
        }
        Expr::Call(call) => {
            let mut all = Labels::new();
            for argument in &call.args.args {
                let found = labels(exposed, argument)?;
                if ["rate", "irate", "increase"].contains(&call.func.name) {
                    only_grows(exposed, argument)?;
                }
                all.extend(found);
            }
            if call.func.name == "histogram_quantile" && !all.remove("le") {
                return Err("a quantile needs the label le".to_owned());
            }
            if call.func.name == "absent" {
                all.clear();
            }
            Ok(all)
        }
        Expr::Aggregate(aggregate) => {
            let inner = labels(exposed, &aggregate.expr)?;
            match &aggregate.modifier {
                None => Ok(Labels::new()),
                Some(LabelModifier::Include(by)) => {
                    let by: Labels = by.labels.iter().cloned().collect();
                    match by.difference(&inner).next() {
                        Some(missing) => Err(format!("no label {missing}")),
                        None => Ok(by),
                    }
                }
                Some(LabelModifier::Exclude(without)) => Ok(inner
                    .into_iter()
                    .filter(|label| !without.labels.contains(label))
                    .collect()),
            }
        }
        Expr::Extension(_) => Err("unknown".to_owned()),
    }
}

fn selected(exposed: &Exposition, selector: &VectorSelector) -> Result<Labels, String> {
    let name = selector
        .name
        .as_deref()
        .ok_or("a selector without a name")?;
    if name == UP {
        return Ok(TARGET.map(ToOwned::to_owned).into());
    }
    let (family, _) = exposed
        .series(name)
        .ok_or_else(|| format!("no such series: {name}"))?;
    let mut all: Labels = family.labels.keys().cloned().collect();
    all.extend(TARGET.map(ToOwned::to_owned));
    if name.ends_with("_bucket") {
        all.insert("le".to_owned());
    }
    for matcher in &selector.matchers.matchers {
        if !all.contains(&matcher.name) {
            return Err(format!("{name} has no label {}", matcher.name));
        }
        let Some(values) = family.labels.get(&matcher.name) else {
            continue;
        };
        // Each alternative must stand for something: a wrong one would never be missed.
        let alternatives: Vec<&str> = match matcher.op {
            MatchOp::Equal | MatchOp::NotEqual => vec![&matcher.value],
            MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').collect(),
        };
        for alternative in alternatives {
            let fits = |value: &String| match alternative.strip_suffix(".+") {
                Some(start) if !matches!(matcher.op, MatchOp::Equal) => value.starts_with(start),
                _ => value == alternative,
            };
            if !values.iter().any(fits) {
                return Err(format!(
                    "{name}: no value {alternative} of {}",
                    matcher.name
                ));
            }
        }
    }
    Ok(all)
}

fn only_grows(exposed: &Exposition, argument: &Expr) -> Result<(), String> {
    let Expr::MatrixSelector(selector) = argument else {
        return Ok(());
    };
    let name = selector.vs.name.as_deref().unwrap_or_default();
    match exposed.series(name) {
        Some((_, true)) => Ok(()),
        _ => Err(format!("{name} is no counter")),
    }
}
