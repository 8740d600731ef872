//! Links: what a page points to is there.
//!
//! Receives the Markdown files from [`super::check`], returns relative links to files or headings
//! that do not exist, and decisions that the index does not name. Addresses of other sites are not
//! looked at.

use super::{Finding, Tree};

const DECISIONS: &str = "docs/decisions/";

/// Broken links, and decisions missing from the index.
pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.is("md")) {
        for (line, target) in links(file.text.as_deref().unwrap_or_default()) {
            if let Some(message) = broken(tree, &file.path, target) {
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings.extend(unlisted_decisions(tree));
    findings
}

fn broken(tree: &Tree, from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if path.is_empty() { from.to_owned() } else { resolve(from, path) };
    if !path.is_empty() && !tree.holds(&path) {
        return Some(format!("links to {target}: no such file"));
    }
    let page = tree.file(&path).filter(|page| page.is("md"))?;
    let known = anchors(page.text.as_deref().unwrap_or_default());
    let is_known = heading.is_empty() || known.iter().any(|anchor| anchor == heading);
    (!is_known).then(|| format!("links to {target}: {path} has no such heading"))
}

/// `target` as seen from the file `from`, relative to the root. A link that leaves the tree stays
/// as it is, and so names no file of it.
fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.is_empty() => return target.to_owned(),
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The lines that are prose, with code spans blanked, each with its number.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then(|| (i + 1, without_code(line)))
    })
}

/// The line without what stands between backticks.
pub fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let raw = text.lines().nth(number - 1).unwrap_or_default();
        // Blanking shortens a line, so the raw one is searched, for the links the prose still has.
        for (at, _) in raw.match_indices("](") {
            let rest = &raw[at + 2..];
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            if !target.is_empty() && line.contains(&format!("]({target}")) {
                links.push((number, target));
            }
        }
        if let Some((_, target)) = raw.split_once("]: ").filter(|_| raw.starts_with('[')) {
            links.push((number, target.split(' ').next().unwrap_or_default()));
        }
    }
    links
}

/// The anchors of a page's headings, as the usual renderers make them.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced || !line.starts_with('#') {
            continue;
        }
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        anchors.push(kept.map(|c| if c == ' ' { '-' } else { c }).collect());
    }
    anchors
}

fn unlisted_decisions(tree: &Tree) -> Vec<Finding> {
    let index = format!("{DECISIONS}README.md");
    let listed = tree.file(&index).and_then(|file| file.text.as_deref()).unwrap_or_default();
    tree.files
        .iter()
        .filter_map(|file| file.path.strip_prefix(DECISIONS))
        .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
        .filter(|name| !listed.contains(&format!("]({name})")))
        .map(|name| Finding::new(&index, 0, format!("does not link {name}: add a line")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<(usize, String)> {
        check(&Tree::of(files)).into_iter().map(|f| (f.line, f.message)).collect()
    }

    #[test]
    fn a_link_leads_to_a_file_a_folder_or_a_heading() {
        let other = ("docs/b.md", "# One thing: it `works`\n");
        let text = "[a](../docs/b.md) [b](b.md#one-thing-it-works) [c](/docs) [d](https://a.b/c)\n\
                    [e](#here)\n# Here\n\n[f]: b.md\n";
        assert_eq!(found(&[("docs/a.md", text), other]), []);
    }

    #[test]
    fn a_link_to_nothing_is_found() {
        let files = [("docs/a.md", "x\n[a](c.md)\n[b](#no)\n[c](../../x)\n\n[f]: g.md\n")];
        let messages = [
            (2, "links to c.md: no such file".to_owned()),
            (3, "links to #no: docs/a.md has no such heading".to_owned()),
            (4, "links to ../../x: no such file".to_owned()),
            (6, "links to g.md: no such file".to_owned()),
        ];
        assert_eq!(found(&files), messages);
    }

    #[test]
    fn code_holds_no_links() {
        assert_eq!(found(&[("a.md", "`[a](b)`\n```\n[a](b)\n```\n")]), []);
    }

    #[test]
    fn every_decision_is_in_the_index() {
        let decision = ("docs/decisions/0001-a.md", "");
        let index = |text| [("docs/decisions/README.md", text), decision];
        assert_eq!(found(&index("[a](0001-a.md)\n")), []);
        assert_eq!(
            found(&index("none\n")),
            [(0, "does not link 0001-a.md: add a line".to_owned())]
        );
    }
}
