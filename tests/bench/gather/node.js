const { setImmediate } = require('timers/promises');
const ops = Number(process.argv[2]), size = Number(process.argv[3]);

async function work() { await setImmediate(); }

async function main() {
  const began = process.cpuUsage(), rounds = Math.floor(ops / size);
  for (let round = 0; round < rounds; round++) {
    await Promise.all(Array.from({ length: size }, work));
  }
  const { user, system } = process.cpuUsage(began);
  console.log(`ops=${rounds * size} cpu_ns=${(user + system) * 1000}`);
}
main();
