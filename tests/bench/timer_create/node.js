const ops = Number(process.argv[2]), size = Number(process.argv[3]);
const began = process.cpuUsage();
const rounds = Math.floor(ops / size), handles = [];

function nothing() {}

for (let round = 0; round < rounds; round++) {
  for (let i = 0; i < size; i++) {
    handles[i] = setTimeout(nothing, 3600000 + i * 7919 % 1000003);
  }
  for (let i = 0; i < size; i++) clearTimeout(handles[i]);
}
const { user, system } = process.cpuUsage(began);
console.log(`ops=${rounds * size} cpu_ns=${(user + system) * 1000}`);
