//! Placeholder until the demo's owner replaces it.
pub(crate) async fn run(_: &crate::arguments::Demo, _: crate::output::Output) -> anyhow::Result<u8> { anyhow::bail!("not yet") }
pub(crate) mod ledger {
    #[derive(Debug, clap::Args)]
    pub(crate) struct Arguments {}
    pub(crate) async fn run(_: Arguments) -> anyhow::Result<()> { Ok(()) }
}
