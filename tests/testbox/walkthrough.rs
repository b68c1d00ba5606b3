//! A page of the documentation as something that can be walked: its commands are run as they are printed, in the order of the page,
//! and what they print is compared with the page.
//!
//! A block ```` ```console ```` has commands behind `$ `, each followed by what it prints. A block ```` ```yaml ```` whose first line
//! is `# NAME.yaml` is a file of that name in the folder where the commands run. Everything else is for people.
//!
//! With `UPDATE=1` the page gets what was printed in the place of what it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What the page says, and what that is here: `registry.example.com` is a registry of the box.
pub type Stand = (&'static str, String);

/// A page, and the place where it is walked.
pub struct Walkthrough {
    page: PathBuf,
    sections: Vec<Section>,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
    stands: Vec<Stand>,
}

struct Section {
    title: String,
    /// Lines as they are, with the blocks among them.
    text: String,
}

impl Walkthrough {
    /// Reads a page of this package. Commands run in `folder`, in an environment of these variables alone.
    ///
    /// # Errors
    /// The page can't be read.
    pub fn of(page: &str, folder: &Path, environment: Vec<(&'static str, String)>, stands: Vec<Stand>) -> Result<Self> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = fs::read_to_string(&page).with_context(|| page.display().to_string())?;
        let mut sections = vec![Section { title: String::new(), text: String::new() }];
        for line in text.split_inclusive('\n') {
            if let Some(title) = line.strip_prefix("## ") {
                sections.push(Section { title: title.trim().to_owned(), text: String::new() });
            }
            if let Some(section) = sections.last_mut() {
                section.text += line;
            }
        }
        Ok(Self { page, sections, folder: folder.to_owned(), environment, stands })
    }

    /// Titles of the sections with commands or files, in order.
    pub fn sections(&self) -> Vec<String> {
        let is_walked =
            |section: &&Section| section.text.contains("```console\n") || section.text.contains("```yaml\n# ");
        let runs = self.sections.iter().filter(is_walked);
        runs.map(|section| section.title.clone()).collect()
    }

    /// Walks one section. The exit code of a command does not count, what it prints does: the page shows failures, too.
    ///
    /// # Errors
    /// No such section, or a command can't be run, or the page says something else than was printed.
    pub fn walk(&mut self, title: &str) -> Result<()> {
        let index = self.sections.iter().position(|section| section.title == title);
        let index = index.with_context(|| format!("{} has no section {title:?}", self.page.display()))?;
        let mut walked = String::new();
        let mut block: Option<(&str, String)> = None;
        for line in self.sections[index].text.split_inclusive('\n') {
            match (&mut block, line.trim_end()) {
                (None, opening) => {
                    if let Some(kind) = opening.strip_prefix("```") {
                        block = Some((kind, String::new()));
                    }
                    walked += line;
                }
                (Some((kind, content)), "```") => {
                    walked += &match *kind {
                        "console" => self.run(content)?,
                        "yaml" => self.write(content)?,
                        _ => content.clone(),
                    };
                    walked += line;
                    block = None;
                }
                (Some((_, content)), _) => content.push_str(line),
            }
        }
        if walked == self.sections[index].text {
            return Ok(());
        }
        if std::env::var_os("UPDATE").is_some() {
            self.sections[index].text = walked;
            let page: String = self.sections.iter().map(|section| section.text.as_str()).collect();
            return Ok(fs::write(&self.page, page)?);
        }
        let message = &self.sections[index].text;
        bail!("{}: section {title:?} says\n{message}\nbut its commands print\n{walked}", self.page.display());
    }

    /// The block as it is with what its commands print.
    fn run(&self, block: &str) -> Result<String> {
        let mut walked = String::new();
        for line in block.lines() {
            let Some(command) = line.strip_prefix("$ ") else { continue };
            walked += &format!("{line}\n{}", self.printed(command)?);
        }
        Ok(walked)
    }

    fn printed(&self, command: &str) -> Result<String> {
        // In the order in which a terminal shows them.
        let mut shell = Command::new("bash");
        shell.args(["-c", &format!("exec 2>&1; {}", self.here(command))]).current_dir(&self.folder).env_clear();
        let output = shell.envs(self.environment.iter().map(|(name, value)| (*name, value))).output()?;
        let mut printed = String::from_utf8(output.stdout)?;
        for (page, here) in &self.stands {
            printed = printed.replace(here.as_str(), page);
        }
        Ok(printed)
    }

    /// The block as it is; a file by the way.
    fn write(&self, block: &str) -> Result<String> {
        let name = block.lines().next().and_then(|line| line.strip_prefix("# "));
        if let Some(name) = name.filter(|name| name.ends_with(".yaml") && !name.contains(' ')) {
            fs::write(self.folder.join(name), self.here(block))?;
        }
        Ok(block.to_owned())
    }

    fn here(&self, text: &str) -> String {
        self.stands.iter().fold(text.to_owned(), |text, (page, here)| text.replace(page, here))
    }
}
