const net = require('net');
const readline = require('readline');

const server = net.createServer(async (socket) => {
  socket.setNoDelay(true);
  socket.on('error', () => {});
  for await (const line of readline.createInterface({ input: socket })) socket.write(line + '\n');
});
server.listen(0, '127.0.0.1', () => console.log(`port=${server.address().port}`));
