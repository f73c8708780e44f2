//! `cargo xtask s3`: the storage conformance suite against a real S3-compatible server (moto) on loopback.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use xshell::{Shell, cmd};

/// The server: its conditional creates held under racing writers.
const MOTO: &str = "moto[server,s3]==5.2.5";
const BUCKET: &str = "conformance";

/// Installs moto below `target/` if it is not there, starts it, runs the suite, stops it.
pub(crate) fn run(sh: &Shell) -> anyhow::Result<()> {
    let program = install(sh)?;
    let server = Server::start(&program)?;
    server.create_bucket(BUCKET)?;
    println!("   moto on {}", server.address);
    let output = cmd!(sh, "cargo test --locked -p rpo-storage-opendal --test s3")
        .env("RPO_TEST_S3_ENDPOINT", format!("http://{}", server.address))
        .env("RPO_TEST_S3_BUCKET", BUCKET)
        .env("RPO_TEST_REQUIRED", "1") // a rule that is skipped is a failure
        .env("AWS_ACCESS_KEY_ID", "conformance")
        .env("AWS_SECRET_ACCESS_KEY", "conformance")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .ignore_status()
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "the suite failed against the S3 server");
    ensure!(passed(&text) >= 30, "the suite has more than 30 rules, but only {} ran", passed(&text));
    Ok(())
}

/// Tests that passed, by the runner's closing line.
fn passed(output: &str) -> u32 {
    let counts = output.lines().filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    counts.filter_map(|count| count.parse::<u32>().ok()).sum()
}

fn install(sh: &Shell) -> anyhow::Result<PathBuf> {
    let venv = sh.current_dir().join("target/tools/moto");
    let program = venv.join("bin/moto_server");
    let stamp = venv.join("installed");
    if sh.read_file(&stamp).is_ok_and(|installed| installed == MOTO) && program.exists() {
        return Ok(program);
    }
    println!("   installing {MOTO} into target/tools/moto");
    cmd!(sh, "python3 -m venv --clear {venv}").run().context("python3 with the venv module is needed")?;
    let pip = venv.join("bin/pip");
    cmd!(sh, "{pip} install --quiet --disable-pip-version-check {MOTO}").run()?;
    sh.write_file(&stamp, MOTO)?; // last, so that an interrupted install starts again
    Ok(program)
}

/// The running server; killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("{} did not start", program.display()))?;
        let mut server = Self { child, address: format!("127.0.0.1:{port}") };
        for _ in 0..300 {
            if TcpStream::connect(&server.address).is_ok() {
                return Ok(server);
            }
            if let Some(status) = server.child.try_wait()? {
                bail!("moto ended before it listened: {status}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("moto does not listen on {}", server.address)
    }

    fn create_bucket(&self, bucket: &str) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(&self.address)?;
        let host = &self.address;
        write!(
            stream,
            "PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.lines().next().unwrap_or_default();
        ensure!(status.contains(" 200 "), "the bucket was not created: {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Only what we started; `wait` so that no zombie stays.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
