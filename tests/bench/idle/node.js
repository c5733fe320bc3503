const net = require('net');

const server = net.createServer((socket) => {
  socket.on('data', () => {});
  socket.on('error', () => {});
});
server.listen(0, '127.0.0.1', 1024, () => console.log(`port=${server.address().port}`));
