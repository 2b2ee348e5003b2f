//! Agents as others see them: A2A v1 over the queue.
//!
//! An agent's skills are the types of task it offers, its A2A tasks are the tasks of its queue, whoever submitted them and whatever door they came
//! in by. Nothing else is kept: the conversation and the message a task came from stand in its idempotency key, so a message that is sent again is the
//! same task. A caller sees and stops its own tasks; one who may operate, all.
//!
//! Here is what the methods mean; what they travel in is the doors' affair (`web::a2a`).

mod error;
pub mod push;
#[cfg(test)]
mod tests;
mod view;
mod wish;

use std::sync::Arc;
use std::time::Duration;

use ::a2a as words;
use kernel::offers::Offers;
use kernel::queue::{Filter, LIST_MAX, NewTask, Queue, Task, TaskId};
use kernel::{Access, Caller, Code, Fault, Ports, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use words::{
    CancelTaskRequest, DeleteTaskPushNotificationConfigRequest, GetTaskPushNotificationConfigRequest, GetTaskRequest,
    ListTaskPushNotificationConfigsRequest, ListTasksRequest, ListTasksResponse, SendMessageRequest,
    SendMessageResponse, SubscribeToTaskRequest, TaskPushNotificationConfig, methods,
};

pub use error::Refusal;
use push::Configs;
pub use view::{Shown, context_of, differs, first, updates};
pub use wish::Wish;

/// The version of the protocol.
pub const VERSION: &str = words::VERSION;
/// The header in which a client says which version it speaks.
pub const VERSION_HEADER: &str = "a2a-version";
/// How long a call may take: a message waits for its task.
pub const CALL_TIME: Duration = Duration::from_secs(60);
/// How long a message waits for the end of its task: less than what proxies cut off.
const WAIT_TIME: Duration = Duration::from_secs(50);
/// How long cancelling waits for the worker to stop.
const CANCEL_TIME: Duration = Duration::from_secs(15);
/// How often a task that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Tasks of one page unless it says otherwise, and at most.
const PAGE: i32 = 50;
const PAGE_MAX: i32 = 100;
/// Tasks that one list looks at.
const SCAN_MAX: usize = 5_000;

/// Whether there is such a method.
pub fn is_method(name: &str) -> bool {
    methods::is_valid(name)
}

/// What a method answers.
#[derive(Debug)]
pub enum Answer {
    /// A result.
    Whole(Value),
    /// A task, and what becomes of it from here on.
    Follow(Box<Task>),
}

/// One agent's desk.
#[derive(Clone)]
pub struct Desk {
    agent: String,
    queue: Arc<dyn Queue>,
    offers: Offers,
    configs: Configs,
}

impl Desk {
    /// The desk of `agent`.
    pub fn new(agent: &str, ports: &Ports) -> Self {
        let (store, clock) = (&ports.store, &ports.clock);
        Self {
            agent: agent.into(),
            queue: Arc::clone(&ports.queue),
            offers: Offers::new(Arc::clone(store), clock.clone()),
            configs: Configs::new(Arc::clone(store), clock.clone()),
        }
    }

    /// The agent's card: what it does, and that it does it at `url`.
    ///
    /// # Errors
    /// When the agent is not known.
    pub async fn card(&self, url: &str, version: &str, about: &str) -> Result<Value> {
        let offer = self.offers.need(&self.agent).await?;
        value(&view::card(&self.agent, &offer, url, version, about)).map_err(|refusal| refusal.fault)
    }

    /// Does what a method asks for.
    ///
    /// # Errors
    /// In the protocol's codes.
    pub async fn call(&self, method: &str, params: Value, caller: &Caller) -> Result<Answer, Refusal> {
        match method {
            methods::SEND_MESSAGE => self.send(read(params)?, caller).await.map(Answer::Whole),
            methods::SEND_STREAMING_MESSAGE => {
                let (task, _) = self.submit(read(params)?, caller).await?;
                Ok(Answer::Follow(Box::new(task)))
            }
            methods::GET_TASK => {
                let asked: GetTaskRequest = read(params)?;
                no_tenant(asked.tenant.as_deref())?;
                let task = self.task(&asked.id, caller).await?;
                whole(&view::task(&task, Shown { history: asked.history_length, artifacts: true }))
            }
            methods::LIST_TASKS => whole(&self.list(&read(params)?, caller).await?),
            methods::CANCEL_TASK => self.cancel(&read(params)?, caller).await,
            methods::SUBSCRIBE_TO_TASK => {
                let asked: SubscribeToTaskRequest = read(params)?;
                no_tenant(asked.tenant.as_deref())?;
                let task = self.task(&asked.id, caller).await?;
                if task.state.is_ended() {
                    let what = format!("{} is {}: there is nothing to follow", task.id, task.state);
                    return Err(Refusal::unsupported(Fault::unsupported(what).hint("GetTask tells how it ended")));
                }
                Ok(Answer::Follow(Box::new(task)))
            }
            methods::GET_EXTENDED_AGENT_CARD => Err(Refusal::no_extended_card()),
            _ => self.push(method, params, caller).await,
        }
    }

    /// The methods of push notification configs.
    async fn push(&self, method: &str, params: Value, caller: &Caller) -> Result<Answer, Refusal> {
        match method {
            methods::CREATE_PUSH_CONFIG => {
                let config: TaskPushNotificationConfig = read(params)?;
                no_tenant(config.tenant.as_deref())?;
                let task = self.task(&config.task_id, caller).await?;
                whole(&self.configs.put(&self.agent, &task, config).await?)
            }
            methods::GET_PUSH_CONFIG => {
                let asked: GetTaskPushNotificationConfigRequest = read(params)?;
                no_tenant(asked.tenant.as_deref())?;
                let task = self.task(&asked.task_id, caller).await?;
                whole(&self.configs.get(&self.agent, task.id, &asked.id).await?)
            }
            methods::LIST_PUSH_CONFIGS => {
                let asked: ListTaskPushNotificationConfigsRequest = read(params)?;
                no_tenant(asked.tenant.as_deref())?;
                let task = self.task(&asked.task_id, caller).await?;
                let configs = self.configs.list(&self.agent, task.id).await?;
                whole(&words::ListTaskPushNotificationConfigsResponse { configs, next_page_token: None })
            }
            methods::DELETE_PUSH_CONFIG => {
                let asked: DeleteTaskPushNotificationConfigRequest = read(params)?;
                no_tenant(asked.tenant.as_deref())?;
                let task = self.task(&asked.task_id, caller).await?;
                self.configs.delete(&self.agent, task.id, &asked.id).await?;
                Ok(Answer::Whole(json!({})))
            }
            _ => Err(Refusal::no_method(method)),
        }
    }

    /// Submits a message's task. Says how its answer is to look.
    async fn submit(&self, request: SendMessageRequest, caller: &Caller) -> Result<(Task, Shown), Refusal> {
        no_tenant(request.tenant.as_deref())?;
        if let Some(task) = &request.message.task_id {
            let task = self.task(task, caller).await?;
            let what = format!("a task takes one message, and {} has its", task.id);
            return Err(Refusal::unsupported(
                Fault::unsupported(what).hint("send a message of its own, in the same context"),
            ));
        }
        let offer = self.offers.need(&self.agent).await?;
        let wish = Wish::read(&request, &offer, &self.agent, caller)?;
        caller.require(
            offer.access_of(&self.agent, &wish.task_type)?,
            &format!("agent:{}.{}", self.agent, wish.task_type),
        )?;
        let task = NewTask::new(&self.agent, &wish.task_type, wish.payload, caller).key(wish.key);
        let submitted = self.queue.submit(vec![task]).await?;
        let id =
            submitted.first().map(|one| one.id).ok_or_else(|| Fault::internal("a submission without an answer"))?;
        let task = self.look(id).await?;
        let configuration = request.configuration;
        let config = configuration.as_ref().and_then(|asked| asked.task_push_notification_config.clone());
        if let Some(config) = config {
            self.configs.put(&self.agent, &task, config).await?;
        }
        Ok((task, Shown { history: configuration.and_then(|asked| asked.history_length), artifacts: true }))
    }

    async fn send(&self, request: SendMessageRequest, caller: &Caller) -> Result<Value, Refusal> {
        let at_once = request.configuration.as_ref().and_then(|asked| asked.return_immediately).unwrap_or(false);
        let (mut task, shown) = self.submit(request, caller).await?;
        let until = Instant::now() + WAIT_TIME;
        while !at_once && !task.state.is_ended() && Instant::now() < until {
            task = self.changed(&task, until).await?;
        }
        value(&SendMessageResponse::Task(view::task(&task, shown)))
    }

    /// A task of this agent that the caller may see, and stop: its own, or any where it may operate.
    async fn task(&self, id: &str, caller: &Caller) -> Result<Task, Refusal> {
        let known = id.parse::<TaskId>().ok();
        let task = match known {
            Some(id) => self.queue.get(id).await?,
            None => None,
        };
        let seen =
            |task: &Task| task.queue == self.agent && (task.caller == caller.name || caller.allows(Access::Operate));
        task.filter(seen).ok_or_else(|| Refusal::no_task(&self.agent, id))
    }

    async fn look(&self, id: TaskId) -> Result<Task, Fault> {
        self.queue.get(id).await?.ok_or_else(|| Fault::internal(format!("{id} is gone")))
    }

    /// The task when it stands otherwise than it did, or at `until`.
    ///
    /// # Errors
    /// When it was purged, or cannot be read.
    pub async fn changed(&self, before: &Task, until: Instant) -> Result<Task> {
        loop {
            let task = self.look(before.id).await?;
            if view::differs(before, &task) || Instant::now() >= until {
                return Ok(task);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn cancel(&self, asked: &CancelTaskRequest, caller: &Caller) -> Result<Answer, Refusal> {
        no_tenant(asked.tenant.as_deref())?;
        let task = self.task(&asked.id, caller).await?;
        let mut task = match self.queue.cancel(task.id).await {
            Err(fault) if fault.code == Code::Conflict => return Err(Refusal::not_cancelable(fault)),
            ended => ended?,
        };
        let until = Instant::now() + CANCEL_TIME;
        while !task.state.is_ended() && Instant::now() < until {
            task = self.changed(&task, until).await?;
        }
        whole(&view::task(&task, Shown { history: None, artifacts: true }))
    }

    async fn list(&self, asked: &ListTasksRequest, caller: &Caller) -> Result<ListTasksResponse, Refusal> {
        no_tenant(asked.tenant.as_deref())?;
        let size = asked.page_size.unwrap_or(PAGE);
        if !(1..=PAGE_MAX).contains(&size) {
            return Err(Fault::invalid(format!("pageSize is {size}")).hint(format!("1 to {PAGE_MAX}")).into());
        }
        let token = asked.page_token.as_deref().filter(|token| !token.is_empty());
        let after = token.map(str::parse::<TaskId>).transpose()?;
        let mine = (!caller.allows(Access::Operate)).then(|| caller.name.clone());
        let filter = Filter { queue: Some(self.agent.clone()), caller: mine, ..Filter::default() };
        let shown =
            Shown { history: asked.history_length.or(Some(0)), artifacts: asked.include_artifacts == Some(true) };
        let (mut tasks, mut total, mut more, mut before) = (Vec::new(), 0, None, None);
        for _ in 0..SCAN_MAX / LIST_MAX {
            let page = self.queue.list(&filter, before, LIST_MAX).await?;
            before = page.last().map(|task| task.id);
            for task in page.iter().filter(|task| wanted(asked, task)) {
                total += 1;
                if after.is_some_and(|after| task.id >= after) {
                    continue;
                }
                if tasks.len() < usize::try_from(size).unwrap_or(0) {
                    tasks.push((task.id, view::task(task, shown)));
                } else {
                    more = tasks.last().map(|(id, _)| *id);
                }
            }
            if page.len() < LIST_MAX {
                break;
            }
        }
        let page_size = i32::try_from(tasks.len()).unwrap_or(size);
        Ok(ListTasksResponse {
            tasks: tasks.into_iter().map(|(_, task)| task).collect(),
            next_page_token: more.map(|id: TaskId| id.to_string()).unwrap_or_default(),
            page_size,
            total_size: total,
        })
    }
}

/// Whether a task is one of those that are listed.
fn wanted(asked: &ListTasksRequest, task: &Task) -> bool {
    let state = asked.status.as_ref().is_none_or(|state| *state == view::state(task));
    let context = asked.context_id.as_ref().is_none_or(|context| *context == context_of(task));
    let after_ms = asked.status_timestamp_after.map(|after| after.timestamp_millis());
    state && context && after_ms.is_none_or(|after_ms| view::at_ms(task) >= after_ms)
}

fn read<T: DeserializeOwned>(params: Value) -> Result<T, Refusal> {
    serde_json::from_value(params).map_err(|error| Refusal::from(Fault::invalid(format!("params: {error}"))))
}

fn value(value: &impl Serialize) -> Result<Value, Refusal> {
    serde_json::to_value(value).map_err(|error| Fault::internal(format!("answer: {error}")).into())
}

fn whole(answer: &impl Serialize) -> Result<Answer, Refusal> {
    value(answer).map(Answer::Whole)
}

fn no_tenant(tenant: Option<&str>) -> Result<(), Refusal> {
    match tenant {
        None | Some("") => Ok(()),
        Some(tenant) => {
            Err(Fault::invalid(format!("tenant `{tenant}`")).hint("this agent has none: leave it out").into())
        }
    }
}
