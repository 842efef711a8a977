//! The virtio-serial port that connects to the controller.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use labctl_wire::PORT_NAME;

/// How long the driver may take to present the port.
const DEADLINE: Duration = Duration::from_secs(60);

/// Opens the port for reading and writing. If the driver is loaded after the agent starts (a foreign image), this checks again every 20
/// ms: sysfs cannot be watched.
pub fn open() -> io::Result<File> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(path) = find() {
            return OpenOptions::new().read(true).write(true).open(path);
        }
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no virtio-serial port named {PORT_NAME}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn find() -> Option<PathBuf> {
    fs::read_dir("/sys/class/virtio-ports").ok()?.flatten().find_map(|entry| {
        let name = fs::read_to_string(entry.path().join("name")).ok()?;
        let device = PathBuf::from("/dev").join(entry.file_name());
        (name.trim() == PORT_NAME && device.exists()).then_some(device)
    })
}
