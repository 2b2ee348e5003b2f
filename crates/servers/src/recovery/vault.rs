//! Backups of all that the fleet keeps, as tools over the port [`Vault`](kernel::vault::Vault).

use kernel::vault::{Backup, Contents, Restored};
use mcp::prelude::*;

use super::Recovery;

/// What [`BACKUP`](super::BACKUP) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {}

/// What [`LIST_BACKUPS`](super::LIST_BACKUPS) takes.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListBackupsRequest {}

/// What [`LIST_BACKUPS`](super::LIST_BACKUPS) answers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct ListBackupsResponse {
    /// The backups, newest first. Whether one is whole, verify_backup tells.
    pub backups: Vec<Backup>,
}

/// What [`VERIFY_BACKUP`](super::VERIFY_BACKUP) and [`RESTORE`](super::RESTORE) take.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedBackupRequest {
    /// The backup's name, as list_backups has it.
    pub name: String,
}

impl Recovery {
    pub(super) async fn backup(self: Arc<Self>, _request: BackupRequest, ctx: Ctx) -> Result<Contents, ToolError> {
        let made = self.vault.create(self.config.backups_kept).await?;
        tracing::info!(backup = made.name, by = ctx.caller.name, bytes = made.bytes, "backup made");
        Ok(made)
    }

    pub(super) async fn list_backups(
        self: Arc<Self>,
        _request: ListBackupsRequest,
        _ctx: Ctx,
    ) -> Result<ListBackupsResponse, ToolError> {
        Ok(ListBackupsResponse { backups: self.vault.list().await? })
    }

    pub(super) async fn verify_backup(
        self: Arc<Self>,
        request: NamedBackupRequest,
        _ctx: Ctx,
    ) -> Result<Contents, ToolError> {
        Ok(self.vault.verify(&request.name).await?)
    }

    pub(super) async fn restore(self: Arc<Self>, request: NamedBackupRequest, ctx: Ctx) -> Result<Restored, ToolError> {
        ctx.caller.require_person("recovery.restore")?;
        let restored = self.vault.restore(&request.name).await?;
        tracing::warn!(backup = request.name, by = ctx.caller.name, folder = restored.data_dir, "backup restored");
        Ok(restored)
    }
}
