use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

/// Greets with its name, then sends back what it gets. Lives as long as the test.
pub struct Backend {
    pub address: SocketAddr,
}

impl Backend {
    pub fn start(name: &'static str) -> Self {
        Self::serve(name, TcpListener::bind("[::1]:0").expect("bound"))
    }

    pub fn serve(name: &'static str, listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("address");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                std::thread::spawn(move || echo(name, stream));
            }
        });
        Self { address }
    }
}

fn echo(name: &str, mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(name.as_bytes())?;
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return stream.shutdown(std::net::Shutdown::Write),
            read => stream.write_all(&buffer[..read])?,
        }
    }
}

/// Connects, sends `first`, and reads a greeting of `greeting` bytes and `first` back: the greeting.
pub fn talk(address: SocketAddr, first: &[u8], greeting: usize) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    talk_on(&mut stream, first, greeting)
}

/// The same on a connection that is there already.
pub fn talk_on(stream: &mut TcpStream, first: &[u8], greeting: usize) -> io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(first)?;
    let mut answer = vec![0; greeting + first.len()];
    stream.read_exact(&mut answer)?;
    assert_eq!(&answer[greeting..], first, "the bytes come back as they were");
    Ok(String::from_utf8_lossy(&answer[..greeting]).into_owned())
}
