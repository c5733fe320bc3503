const { setImmediate } = require('timers/promises');
const ops = Number(process.argv[2]), count = Number(process.argv[3]);
const each = Math.floor(ops / count);

async function work() {
  for (let i = 0; i < each; i++) await setImmediate();
}

async function main() {
  const began = process.cpuUsage();
  await Promise.all(Array.from({ length: count }, work));
  const { user, system } = process.cpuUsage(began);
  console.log(`ops=${each * count} cpu_ns=${(user + system) * 1000}`);
}
main();
