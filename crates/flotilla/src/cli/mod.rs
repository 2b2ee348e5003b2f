//! The command line. stdout is data, stderr is talk; every read has `--json`; errors say what, why and the next command.

mod agent;
mod alert;
mod api;
mod audit;
mod backup;
mod bench;
mod completions;
mod compose;
mod config;
mod connect;
mod doctor;
mod down;
mod generate;
mod health;
mod init;
mod logs;
mod market;
mod mcp;
mod open;
mod output;
mod risk;
mod server;
mod shown;
mod status;
mod task;
mod terminal;
mod token;
mod tool;
mod top;
mod up;
mod workflow;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kernel::{Code, Fault};
use serde_json::json;

use crate::config::{Loaded, Sources, load};

/// A fleet of MCP servers for decentralised-finance engineering behind one endpoint.
#[derive(Debug, Parser)]
#[command(name = "flotilla", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Global {
    /// The configuration file [default: flotilla.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder [default: .flotilla]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// The coordinator to talk to [default: the one that runs on the data folder]
    #[arg(long, global = true, value_name = "URL", env = "FLOTILLA_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// The API key to use [default: the one in the data folder]
    #[arg(long, global = true, value_name = "KEY", env = "FLOTILLA_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the fleet in this process
    Up(up::Up),
    /// Run chosen services in this process; they find the others through the data folder
    Serve(up::Serve),
    /// Stop the fleet that runs on this data folder, and wait until it has ended
    Down(down::Down),
    /// Print a link that opens the dashboard in a browser, signed in
    Open(open::Open),
    /// Show how the fleet, or one service, stands
    Status(status::Status),
    /// List what runs
    Ps,
    /// Watch the fleet in the terminal: state, calls, failures and latency of every service
    Top(top::Top),
    /// Look at servers and restart them
    Server(server::Server),
    /// Find, describe and call tools
    Tool(tool::Tool),
    /// Look at agents and give them tasks
    Agent(agent::Agent),
    /// Submit tasks, look at them, cancel and retry them
    Task(task::Task),
    /// Define, start and follow workflows
    Workflow(workflow::Workflow),
    /// Look at alerts, say that somebody knows, keep them quiet
    Alert(alert::Alert),
    /// Look at opportunities, pools, prices and gas
    Market(market::Market),
    /// Look at limits, exposure and profit; stop and resume trading
    Risk(risk::Risk),
    /// Search and follow log lines
    Logs(logs::Logs),
    /// Restart a service
    Restart(server::Restart),
    /// Find what is missing or wrong on this machine, and mend it
    Doctor(doctor::Doctor),
    /// Show, explain and check the configuration
    Config(config::ConfigCommand),
    /// Create, list and revoke API keys
    Token(token::Token),
    /// Set up an MCP client: claude, claude-code, cursor, vscode
    Connect(connect::Connect),
    /// Speak MCP on stdin and stdout, for clients that start commands
    Mcp(mcp::Mcp),
    /// List and verify the audit trail
    Audit(audit::Audit),
    /// Put all that the fleet keeps into one file; it may be running
    Backup(backup::Backup),
    /// Put a backup into a data folder, and a database, that are new or empty
    Restore(backup::Restore),
    /// The container system: start, stop, write its files
    Compose(compose::Compose),
    /// Write `.env` and docker/secrets with random passwords; what is there stays
    Init(init::Init),
    /// Ask a service on this machine whether it serves
    Health(health::Health),
    /// Measure how many calls a second the running fleet answers
    Bench(bench::Bench),
    /// Print a completion script
    Completions(completions::Completions),
    /// Print the version
    Version,
    /// Print a generated file
    #[command(name = "gen", hide = true)]
    Generate(generate::Generate),
}

impl Global {
    /// The configuration, with this command's flags on top.
    pub fn load(&self, mut flags: Vec<(&'static str, &'static str, serde_json::Value)>) -> Result<Loaded, Fault> {
        if let Some(folder) = &self.data_dir {
            flags.push(("fleet.data_dir", "--data-dir", json!(folder)));
        }
        load(&Sources { file: self.config.clone(), flags })
    }
}

/// Runs the command and tells the shell how it went.
pub fn run(cli: Cli) -> ExitCode {
    let global = cli.global.clone();
    match dispatch(cli) {
        Ok(code) => code,
        Err(fault) => {
            output::fault(&fault, global.json);
            exit_code(fault.code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<ExitCode, Fault> {
    let global = &cli.global;
    match cli.command {
        Command::Up(command) => command.run(global),
        Command::Serve(command) => command.run(global),
        Command::Doctor(command) => command.run(global),
        Command::Config(command) => command.run(global),
        Command::Completions(command) => command.run(),
        Command::Generate(command) => command.run(),
        Command::Compose(command) => command.run(global),
        Command::Init(command) => command.run(global),
        Command::Health(command) => command.run(),
        Command::Version => output::version(global.json),
        Command::Connect(command) => command.run(global),
        command => runtime()?.block_on(async move {
            match command {
                Command::Open(command) => command.run(global).await,
                Command::Status(command) => command.run(global).await,
                Command::Ps => status::ps(global).await,
                Command::Top(command) => command.run(global).await,
                Command::Down(command) => command.run(global).await,
                Command::Bench(command) => command.run(global).await,
                Command::Server(command) => command.run(global).await,
                Command::Restart(command) => command.run(global).await,
                Command::Tool(command) => command.run(global).await,
                Command::Agent(command) => command.run(global).await,
                Command::Task(command) => command.run(global).await,
                Command::Alert(command) => command.run(global).await,
                Command::Market(command) => command.run(global).await,
                Command::Risk(command) => command.run(global).await,
                Command::Workflow(command) => command.run(global).await,
                Command::Logs(command) => command.run(global).await,
                Command::Token(command) => command.run(global).await,
                Command::Mcp(command) => command.run(global).await,
                Command::Audit(command) => command.run(global).await,
                Command::Backup(command) => command.run(global).await,
                Command::Restore(command) => command.run(global).await,
                _ => Err(Fault::internal("a command without a home")),
            }
        }),
    }
}

/// The runtime of every command that talks.
pub fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Fault::internal(format!("runtime: {error}")))
}

/// The documented exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable, 4 not found, 5 denied, 6 unhealthy, 7 time-out, 8 needs approval,
/// 130 interrupted.
pub fn exit_code(code: Code) -> ExitCode {
    ExitCode::from(match code {
        Code::InvalidArgument => 2,
        Code::Unavailable | Code::NotConfigured => 3,
        Code::NotFound => 4,
        Code::Unauthenticated | Code::PermissionDenied => 5,
        Code::Timeout => 7,
        Code::Quarantined => 8,
        Code::Cancelled => 130,
        _ => 1,
    })
}
