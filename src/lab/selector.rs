//! Label selectors in the syntax of Kubernetes: `board=x`, `board!=x`, `board in (x, y)`, `board notin (x)`, `board`,
//! `!board`, `size>3`, `size<3`, joined by commas, all of which must hold.

use std::{collections::BTreeMap, fmt, iter::Peekable, str::CharIndices};

use serde::{Deserialize, Serialize};

use super::names;
use crate::common::text::joined;

/// Labels of an exporter, or tags of a lease.
pub(crate) type Labels = BTreeMap<String, String>;

/// Writes labels as a selector that they fulfil.
pub(crate) fn list(labels: &Labels) -> String {
    let pairs = labels.iter().map(|(key, value)| format!("{key}={value}"));
    joined(pairs, ",")
}

/// Which labels are wanted. The empty selector is content with any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    text: String,
    requirements: Vec<Requirement>,
}

/// One of the conditions of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The key of the label.
    pub key: String,
    /// What must hold for its value.
    pub operator: Operator,
    /// What it is compared with: one value, several or none, as the operator needs.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=` or `==`.
    Equals,
    /// `!=`; a label that is not there is different, too.
    NotEquals,
    /// `in (...)`.
    In,
    /// `notin (...)`; a label that is not there is in no list.
    NotIn,
    /// The key alone: the label is there.
    Exists,
    /// `!` before the key: it is not there.
    DoesNotExist,
    /// `>`: value and operand are whole numbers.
    Greater,
    /// `<`: likewise.
    Less,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    ///
    /// What was expected and what was found, in one line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let requirements = Parser::new(text).all()?;
        let text = text.trim().to_owned();
        Ok(Self { text, requirements })
    }

    /// Makes a selector of these conditions.
    ///
    /// # Errors
    ///
    /// A condition that no text could ask for.
    pub fn of(requirements: &[Requirement]) -> Result<Self, String> {
        let mut all = Vec::new();
        for requirement in requirements {
            let text = requirement.to_string();
            // A value such as `x,board=y` would come back as two conditions.
            if Self::parse(&text)?.requirements != [requirement.clone()] {
                return Err(format!(
                    "selector {text:?}: expected a key and values as labels have them, at least one value for in and notin"
                ));
            }
            all.push(text);
        }
        Self::parse(&all.join(","))
    }

    /// Gives the text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Gives the conditions, all of which must hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Tells whether there is no condition at all.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Tells whether all conditions hold.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels))
    }
}

impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.text
    }
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        let number = |text: &String| text.parse::<i64>().ok();
        let compared = value
            .and_then(number)
            .zip(self.values.first().and_then(number));
        match self.operator {
            Operator::Equals | Operator::In => listed,
            Operator::NotEquals | Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Greater => compared.is_some_and(|(value, bound)| value > bound),
            Operator::Less => compared.is_some_and(|(value, bound)| value < bound),
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Equals => write!(out, "{key}={values}"),
            Operator::NotEquals => write!(out, "{key}!={values}"),
            Operator::In => write!(out, "{key} in ({values})"),
            Operator::NotIn => write!(out, "{key} notin ({values})"),
            Operator::Exists => write!(out, "{key}"),
            Operator::DoesNotExist => write!(out, "!{key}"),
            Operator::Greater => write!(out, "{key}>{values}"),
            Operator::Less => write!(out, "{key}<{values}"),
        }
    }
}

/// A word of the syntax.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Word<'a> {
    Name(&'a str),
    Sign(&'a str),
}

struct Parser<'a> {
    text: &'a str,
    words: Peekable<std::vec::IntoIter<Word<'a>>>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        let words = split(text).into_iter().peekable();
        Self { text, words }
    }

    fn all(mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.words.peek().is_none() {
            return Ok(requirements);
        }
        loop {
            let requirement = self.requirement()?;
            self.check(&requirement)?;
            requirements.push(requirement);
            match self.words.next() {
                None => return Ok(requirements),
                Some(Word::Sign(",")) => {}
                other => return Err(self.unexpected("a comma or the end", other.as_ref())),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let absent = self.sign("!");
        let key = match self.words.next() {
            Some(Word::Name(key)) => key.to_owned(),
            other => return Err(self.unexpected("a label's key", other.as_ref())),
        };
        let plain = |operator, values| Requirement {
            key: key.clone(),
            operator,
            values,
        };
        if absent {
            return Ok(plain(Operator::DoesNotExist, Vec::new()));
        }
        let operator = match self.words.peek() {
            None | Some(Word::Sign(",")) => return Ok(plain(Operator::Exists, Vec::new())),
            Some(Word::Sign("=" | "==")) => Operator::Equals,
            Some(Word::Sign("!=")) => Operator::NotEquals,
            Some(Word::Sign(">")) => Operator::Greater,
            Some(Word::Sign("<")) => Operator::Less,
            Some(Word::Name("in")) => Operator::In,
            Some(Word::Name("notin")) => Operator::NotIn,
            other => {
                let other = other.cloned();
                return Err(self.unexpected("=, !=, in, notin, < or >", other.as_ref()));
            }
        };
        self.words.next();
        let values = match operator {
            Operator::In | Operator::NotIn => self.list()?,
            _ => vec![self.value()],
        };
        Ok(plain(operator, values))
    }

    /// Reads `(a, b)`; an empty place stands for the empty value.
    fn list(&mut self) -> Result<Vec<String>, String> {
        if !self.sign("(") {
            let found = self.words.next();
            return Err(self.unexpected("(", found.as_ref()));
        }
        let mut values = Vec::new();
        loop {
            values.push(self.value());
            match self.words.next() {
                Some(Word::Sign(")")) => return Ok(values),
                Some(Word::Sign(",")) => {}
                other => return Err(self.unexpected("a comma or )", other.as_ref())),
            }
        }
    }

    fn value(&mut self) -> String {
        match self.words.peek() {
            Some(Word::Name(value)) => {
                let value = (*value).to_owned();
                self.words.next();
                value
            }
            _ => String::new(),
        }
    }

    fn sign(&mut self, sign: &str) -> bool {
        self.words
            .next_if(|word| *word == Word::Sign(sign))
            .is_some()
    }

    fn check(&self, requirement: &Requirement) -> Result<(), String> {
        let about = |why: String| format!("selector {:?}: {why}", self.text);
        names::label_key(&requirement.key).map_err(about)?;
        for value in &requirement.values {
            names::label_value(value).map_err(about)?;
            let numeric = matches!(requirement.operator, Operator::Greater | Operator::Less);
            if numeric && value.parse::<i64>().is_err() {
                return Err(about(format!("expected a whole number, found {value:?}")));
            }
        }
        Ok(())
    }

    fn unexpected(&self, expected: &str, found: Option<&Word<'_>>) -> String {
        let found = match found {
            None => "the end".to_owned(),
            Some(Word::Name(text) | Word::Sign(text)) => format!("{text:?}"),
        };
        format!(
            "selector {:?}: expected {expected}, found {found}",
            self.text
        )
    }
}

/// Splits at signs and white space.
fn split(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut chars: Peekable<CharIndices<'_>> = text.char_indices().peekable();
    while let Some((start, first)) = chars.next() {
        if first.is_whitespace() {
            continue;
        }
        if is_sign(first) {
            let long = matches!(first, '=' | '!') && chars.next_if(|(_, c)| *c == '=').is_some();
            let end = start + if long { 2 } else { 1 };
            words.push(Word::Sign(&text[start..end]));
            continue;
        }
        let mut end = start + first.len_utf8();
        while let Some((at, c)) = chars.next_if(|(_, c)| !is_sign(*c) && !c.is_whitespace()) {
            end = at + c.len_utf8();
        }
        words.push(Word::Name(&text[start..end]));
    }
    words
}

fn is_sign(c: char) -> bool {
    matches!(c, '=' | '!' | '(' | ')' | ',' | '<' | '>')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn labels(text: &str) -> Labels {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn what_matches() {
        let board = "board=x,size=4,empty=";
        for (selector, expected) in [
            ("", true),
            ("  ", true),
            ("board=x", true),
            ("board==x", true),
            ("board = x", true),
            ("board=y", false),
            ("board", true),
            ("other", false),
            ("!other", true),
            ("! board", false),
            ("board!=x", false),
            ("board!=y", true),
            ("other!=y", true),
            ("board in (x)", true),
            ("board in (y, x)", true),
            ("board in (y,z)", false),
            ("board in(x)", true),
            ("other in (x)", false),
            ("board notin (y,z)", true),
            ("board notin (x)", false),
            ("other notin (x)", true),
            ("empty=", true),
            ("empty in ()", true),
            ("board=", false),
            ("board=x,size=4", true),
            ("board=x , size in (4), !gone", true),
            ("board=x,size=5", false),
            ("board=x,board=y", false),
            ("size>3", true),
            ("size>4", false),
            ("size < 5", true),
            ("size<4", false),
            ("board<4", false),
            ("other>1", false),
            ("in", false),
            ("in=x", false),
            ("board=in", false),
            ("board in (in, notin)", false),
        ] {
            let parsed = Selector::parse(selector).unwrap();
            assert_eq!(parsed.matches(&labels(board)), expected, "{selector}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (selector, part) in [
            ("board=x,", "expected a label's key, found the end"),
            (",", "expected a label's key, found \",\""),
            ("=x", "expected a label's key, found \"=\""),
            ("board in x", "expected (, found \"x\""),
            ("board in (x", "expected a comma or ), found the end"),
            ("board in (x y)", "expected a comma or ), found \"y\""),
            ("board x", "expected =, !=, in, notin, < or >, found \"x\""),
            ("board=x y", "expected a comma or the end, found \"y\""),
            ("board=x=y", "expected a comma or the end, found \"=\""),
            ("!board=x", "expected a comma or the end, found \"=\""),
            ("!!board", "expected a label's key"),
            ("size>many", "expected a whole number, found \"many\""),
            ("bo/ard/x=1", "cannot be the key of a label"),
            ("board=ü", "cannot be the value of a label"),
            ("board=-", "cannot be the value of a label"),
        ] {
            let error = Selector::parse(selector).unwrap_err();
            assert!(error.contains(part), "{selector}: {error}");
            assert!(error.contains(&format!("selector {selector:?}")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(text in "[ab1=!<>(), innot./-]{0,30}") {
            if let Ok(selector) = Selector::parse(&text) {
                // What is printed says the same.
                let again = Selector::of(selector.requirements()).unwrap();
                prop_assert_eq!(again.requirements(), selector.requirements());
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = Selector::parse(&text);
        }
    }
}
