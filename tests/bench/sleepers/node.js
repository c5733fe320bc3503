const { setTimeout } = require('timers/promises');
const WATCHED = 10; // one of so many
const ops = Number(process.argv[2]);
const began = process.cpuUsage();
let late = 0, early = 0, watched = 0;

async function sleeper(delay, watch) {
  const due = performance.now() + delay;
  await setTimeout(delay);
  if (!watch) return;
  const lateness = performance.now() - due;
  late += lateness;
  watched++;
  if (lateness < 0) early++;
}

async function main() {
  const list = [];
  for (let i = 0; i < ops; i++) list.push(sleeper(i * 7919 % ops / ops * 1000, i % WATCHED == 0));
  await Promise.all(list);
  const { user, system } = process.cpuUsage(began);
  console.log(`ops=${ops} cpu_ns=${(user + system) * 1000}` +
              ` late_ns=${Math.round(late / watched * 1e6)} early=${early}`);
}
main();
