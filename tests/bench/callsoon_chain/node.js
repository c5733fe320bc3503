const ops = Number(process.argv[2]);
let left = ops;
const began = process.cpuUsage();

function step() {
  if (--left > 0) {
    setImmediate(step);
    return;
  }
  const { user, system } = process.cpuUsage(began);
  console.log(`ops=${ops} cpu_ns=${(user + system) * 1000}`);
}
setImmediate(step);
