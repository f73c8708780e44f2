//! Under construction.
pub(crate) fn run(_: &xshell::Shell) -> anyhow::Result<()> {
    Ok(())
}
