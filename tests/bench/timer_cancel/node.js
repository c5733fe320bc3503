const ops = Number(process.argv[2]), size = Number(process.argv[3]);

function nothing() {}

for (let i = 0; i < size; i++) setTimeout(nothing, 10000 + i * 7919 % 40009);
const began = process.cpuUsage();
for (let i = 0; i < ops; i++) clearTimeout(setTimeout(nothing, 10000 + i * 7907 % 40009));
const { user, system } = process.cpuUsage(began);
console.log(`ops=${ops} cpu_ns=${(user + system) * 1000}`);
process.exit(0);
