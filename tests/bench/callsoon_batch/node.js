const ops = Number(process.argv[2]), size = Number(process.argv[3]);
const began = process.cpuUsage();
let done = 0, rounds = Math.floor(ops / size);

function step() { done++; }

function batch() {
  if (rounds-- > 0) {
    for (let i = 0; i < size; i++) setImmediate(step);
    setImmediate(batch);
    return;
  }
  const { user, system } = process.cpuUsage(began);
  console.log(`ops=${done} cpu_ns=${(user + system) * 1000}`);
}
batch();
