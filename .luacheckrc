std = "lua54"
max_line_length = 100
self = false                  -- a method need not use its self

-- A name that begins with "_" says that it is not used. luacheck 1.1 does not know <close>,
-- so a variable that only waits for the end of its scope is called so too, or `held`.
ignore = { "21[1-3]/_.*", "211/held.*" }

files["spec"] = { std = "+busted" }
files["scripts/examples/scenarios/*_spec.lua"] = { std = "+busted" }
