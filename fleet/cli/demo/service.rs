//! The service that the demo deploys: it serves one page over HTTP/1.1 and tests itself.
//!
//! Built without the standard library's dynamic parts into one static file, so that its image needs nothing below it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

const ADDRESS: &str = "0.0.0.0:8080";
const PAGE: &str = "/page.html";
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => serve(),
        Some("check") => check(),
        Some(other) => {
            eprintln!("{other}: no such thing to do");
            ExitCode::FAILURE
        }
    }
}

fn serve() -> ExitCode {
    let Ok(page) = std::fs::read(PAGE) else {
        eprintln!("there is no {PAGE}");
        return ExitCode::FAILURE;
    };
    let listener = match TcpListener::bind(ADDRESS) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{ADDRESS}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("serving {PAGE} on {ADDRESS}");
    for stream in listener.incoming().flatten() {
        // Whoever hangs up early hurts nobody else.
        let _ = answer(stream, &page);
    }
    ExitCode::SUCCESS
}

fn answer(mut stream: TcpStream, page: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = [0; 1024];
    if stream.read(&mut request)? == 0 {
        return Ok(());
    }
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(page)
}

/// Asks itself for the page.
fn check() -> ExitCode {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect("127.0.0.1:8080")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    match ask() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}
