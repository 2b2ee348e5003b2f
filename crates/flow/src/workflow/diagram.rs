//! A definition as a Mermaid flowchart; with a run, how far each task has come.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::Definition;
use super::model::{Kind, Task, Then};
use super::state::{Outcome, State};

/// The chart.
struct Chart {
    text: String,
    nodes: usize,
    /// How a task stands, by its place in the definition.
    standing: BTreeMap<String, &'static str>,
}

/// Draws a definition; with a run's state, its tasks are coloured by how they stand.
pub fn mermaid(definition: &Definition, state: Option<&State>) -> String {
    let standing = state.map(standing).unwrap_or_default();
    let mut chart = Chart { text: "flowchart TD\n".into(), nodes: 0, standing };
    chart.line("start([start])");
    chart.line("finish([end])");
    let first = chart.list(&definition.tasks, &[("start".into(), String::new())]);
    for (from, label) in first {
        chart.edge(&from, &label, "finish");
    }
    for (class, style) in [
        ("done", "fill:#d4f4dd,stroke:#2f9e44"),
        ("failed", "fill:#ffe3e3,stroke:#e03131"),
        ("open", "fill:#fff3bf,stroke:#f08c00"),
    ] {
        chart.line(&format!("classDef {class} {style}"));
    }
    chart.text
}

/// Open ends: from which node, with which label.
type Ends = Vec<(String, String)>;

impl Chart {
    fn line(&mut self, line: &str) {
        // Writing to a `String` cannot fail.
        writeln!(self.text, "  {line}").ok();
    }

    fn edge(&mut self, from: &str, label: &str, to: &str) {
        let label = if label.is_empty() { String::new() } else { format!("|\"{}\"|", quoted(label)) };
        self.line(&format!("{from} -->{label} {to}"));
    }

    /// Draws tasks one after the other. Gives what is open at their end.
    fn list(&mut self, tasks: &[Task], from: &[(String, String)]) -> Ends {
        let ids: Vec<String> = tasks.iter().map(|_| self.fresh()).collect();
        let mut into: Vec<Ends> = vec![Vec::new(); tasks.len()];
        if let Some(first) = into.first_mut() {
            first.extend(from.iter().cloned());
        }
        let mut open: Ends = Vec::new();
        for (place, task) in tasks.iter().enumerate() {
            let mut send = |then: &Then, ends: Ends, open: &mut Ends, chart: &mut Self| match then {
                Then::Continue => match into.get_mut(place + 1) {
                    Some(next) => next.extend(ends),
                    None => open.extend(ends),
                },
                Then::Exit => open.extend(ends),
                Then::End => ends.iter().for_each(|(from, label)| chart.edge(from, label, "finish")),
                Then::To(name) => match tasks.iter().position(|task| task.name == *name) {
                    // Drawn already, or to be drawn: Mermaid does not mind which.
                    Some(to) => ends.iter().for_each(|(from, label)| chart.edge(from, label, &ids[to])),
                    None => open.extend(ends),
                },
            };
            let outs = self.task(task, &ids[place]);
            if let Kind::Switch(cases) = &task.kind {
                for case in cases {
                    send(&case.then, vec![(ids[place].clone(), case.name.clone())], &mut open, self);
                }
                if cases.iter().all(|case| case.when.is_some()) {
                    send(&task.then, vec![(ids[place].clone(), "otherwise".into())], &mut open, self);
                }
            } else {
                send(&task.then, outs, &mut open, self);
            }
        }
        for (place, ends) in into.into_iter().enumerate() {
            for (from, label) in ends {
                self.edge(&from, &label, &ids[place]);
            }
        }
        if tasks.is_empty() { from.to_vec() } else { open }
    }

    fn fresh(&mut self) -> String {
        self.nodes += 1;
        format!("n{}", self.nodes)
    }

    /// Draws a task. Gives what is open at its end.
    fn task(&mut self, task: &Task, id: &str) -> Ends {
        let (open, close) = match task.kind {
            Kind::Switch(_) => ("{", "}"),
            Kind::Wait(_) | Kind::Listen(_) => ("([", "])"),
            Kind::Approve(_) => ("{{", "}}"),
            Kind::Call(_) | Kind::Function { .. } | Kind::Workflow(_) => ("[[", "]]"),
            _ => ("[", "]"),
        };
        self.line(&format!("{id}{open}\"{}<br/><small>{}</small>\"{close}", quoted(&task.name), task.kind.word()));
        if let Some(class) = self.standing.get(&task.at).copied() {
            self.line(&format!("class {id} {class}"));
        }
        let here = || vec![(id.to_owned(), String::new())];
        let ends = match &task.kind {
            Kind::Do(tasks) => self.list(tasks, &here()),
            Kind::For(each) => {
                for (from, _) in self.list(&each.tasks, &[(id.to_owned(), "each".into())]) {
                    self.edge(&from, "next", id);
                }
                here()
            }
            Kind::Listen(listen) => {
                for (from, _) in listen
                    .each
                    .iter()
                    .flat_map(|each| self.list(&each.tasks, &[(id.to_owned(), "each".into())]))
                    .collect::<Ends>()
                {
                    self.edge(&from, "next", id);
                }
                here()
            }
            Kind::Fork { branches, .. } => {
                let mut ends = Ends::new();
                for branch in branches {
                    let own = self.fresh();
                    ends.extend(self.task(branch, &own));
                    self.edge(id, "", &own);
                }
                ends
            }
            Kind::Try { tasks, catch } => {
                let mut ends = self.list(tasks, &here());
                if catch.retry.is_some() {
                    self.line(&format!("{id} -.->|\"retry\"| {id}"));
                }
                if !catch.tasks.is_empty() {
                    ends.extend(self.list(&catch.tasks, &[(id.to_owned(), "error".into())]));
                }
                ends
            }
            _ => here(),
        };
        if !task.undo.is_empty() {
            let undo = self.fresh();
            self.line(&format!(
                "{undo}[\"undo: {}\"]",
                quoted(&task.undo.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", "))
            ));
            self.line(&format!("{id} -.- {undo}"));
        }
        ends
    }
}

/// Text inside quotes of a chart.
fn quoted(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' => "#quot;".to_owned(),
            '<' => "#lt;".to_owned(),
            '>' => "#gt;".to_owned(),
            '\n' | '\r' => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

/// How each task of the definition stands in a run, by its last instance.
fn standing(state: &State) -> BTreeMap<String, &'static str> {
    let plain = |path: &str| {
        let mut text = String::new();
        let mut rest = path;
        while let Some(at) = rest.find(['[', '#', '~']) {
            text.push_str(&rest[..at]);
            let inside = &rest[at + 1..];
            let end = inside.find(|c: char| !c.is_ascii_digit()).unwrap_or(inside.len());
            rest = inside[end..].strip_prefix(']').unwrap_or(&inside[end..]);
        }
        text + rest
    };
    let frames = state.frames.iter().map(|(path, frame)| {
        let class = match frame.outcome {
            Some(Outcome::Done(..)) => "done",
            Some(Outcome::Failed(_)) => "failed",
            None => "open",
        };
        (plain(path), class)
    });
    frames.collect()
}
