//! What the kernel is asked for.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::*;

#[tokio::test]
async fn the_kernel_takes_little_for_a_client_that_does_not_read() {
    let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let client = TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(16 * 1024).unwrap();
    let (client, accepted) = tokio::join!(
        client.connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    let (client, mut stream) = (client.unwrap(), accepted.unwrap().0);
    prepare(&stream).unwrap();
    let written = async {
        let mut written = 0;
        let part = vec![0; 16 * 1024];
        // It ends when nothing more has been taken for a while.
        while let Ok(count) = timeout(Duration::from_millis(500), stream.write(&part)).await {
            written += count.unwrap();
        }
        written
    };
    let written = timeout(Duration::from_secs(20), written).await.unwrap();
    assert!(written < 256 * 1024, "{written}");
    // And goes on when it is read.
    let reading = tokio::spawn(async move {
        let mut client = client;
        tokio::io::copy(&mut client, &mut tokio::io::sink()).await
    });
    let rest = vec![0; 1 << 20];
    timeout(Duration::from_secs(20), stream.write_all(&rest))
        .await
        .unwrap()
        .unwrap();
    drop(stream);
    let read = reading.await.unwrap().unwrap();
    assert_eq!(read, (written + rest.len()) as u64);
}
