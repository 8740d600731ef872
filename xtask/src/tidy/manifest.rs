//! A Cargo.toml as the rules see it: the package's name, its dependencies, its features.
//!
//! Receives text from `arrows` and `features`. Not a TOML parser: it reads one `key = value` per
//! line under a `[section]`, which is how this project writes its manifests.

/// What the rules ask of a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// `package.name`; empty in a workspace root.
    pub name: String,
    /// Of every kind and target.
    pub dependencies: Vec<Dependency>,
    /// Declared features, without `default`.
    pub features: Vec<String>,
}

/// One dependency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// As the manifest names it.
    pub name: String,
    /// Its line, from 1.
    pub line: usize,
    /// Linked only where a feature asks for it.
    pub optional: bool,
    /// Linked into tests, benches and examples alone.
    pub dev: bool,
}

impl Manifest {
    /// Reads the manifest.
    pub fn parse(text: &str) -> Self {
        let mut manifest = Self::default();
        let mut section = "";
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(header) = line.strip_prefix('[') {
                section = header.split(']').next().unwrap_or_default().trim();
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
                continue;
            };
            // `serde.workspace = true` is about serde.
            let key = key.trim().split('.').next().unwrap_or_default().trim_matches('"');
            manifest.take(section, key, value.trim(), i + 1);
        }
        manifest
    }

    fn take(&mut self, section: &str, key: &str, value: &str, line: usize) {
        let kind = section.rsplit('.').next().unwrap_or_default();
        match (section, kind) {
            ("package", _) if key == "name" => value.trim_matches('"').clone_into(&mut self.name),
            ("features", _) if key != "default" => self.features.push(key.to_owned()),
            // The versions of the whole workspace, which link nothing by themselves.
            ("workspace.dependencies", _) => {}
            (_, "dependencies" | "build-dependencies" | "dev-dependencies") => {
                let optional = value.contains("optional = true");
                let dev = kind == "dev-dependencies";
                self.dependencies.push(Dependency { name: key.to_owned(), line, optional, dev });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_tell_what_a_line_means() {
        let manifest = Manifest::parse(
            "[package]\nname = \"a\"\n# b = 1\n[dependencies]\nc.workspace = true\n\
             d = { workspace = true, optional = true }\n[target.'cfg(unix)'.dependencies]\n\
             e = \"1\"\n[dev-dependencies]\nf = \"1\"\n[features]\ndefault = []\ng = [\"dep:d\"]\n\
             [workspace.dependencies]\nh = \"1\"\n[lints]\nworkspace = true\n",
        );
        let dependency = |name: &str, line, optional, dev| Dependency {
            name: name.to_owned(),
            line,
            optional,
            dev,
        };
        assert_eq!(manifest.name, "a");
        assert_eq!(manifest.features, ["g"]);
        assert_eq!(
            manifest.dependencies,
            [
                dependency("c", 5, false, false),
                dependency("d", 6, true, false),
                dependency("e", 8, false, false),
                dependency("f", 10, false, true),
            ]
        );
    }
}
