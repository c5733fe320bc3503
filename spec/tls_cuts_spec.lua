-- TLS through a relay that ends, or changes a byte of, the conversation at one point after
-- another: each time both ends come to an end, with an error or what was really sent.

local lh = require "loophost"
local support = require "spec.support"
local certificates = require "spec.certificates"

local TEXTS = { ("first "):rep(50), ("second "):rep(700), "third" }
local STEP = 29 -- bytes from one cut to the next: records begin and end at all distances of it
local SECONDS = 10

setup(certificates.make)
teardown(certificates.remove)

-- Passes bytes on until the cut; whether it came to that.
local function pass_until(from, to, cut)
  local passed = 0
  while passed < cut do
    local text = from:read(math.min(cut - passed, 65536))
    if not text or not to:write(text) then return false end
    passed = passed + #text
  end
  return true
end

local function pass_all(from, to)
  pass_until(from, to, math.maxinteger)
  to:write_eof()
end

local function garble(text) return string.char(text:byte() ~ 0x55) .. text:sub(2) end

-- What the relay does to bytes behind the cut. Those that it has not read when it closes make
-- the kernel reset the connection; the others get a clean end, without TLS's.
local KINDS = {
  ends = function() end,
  garbles = function(from, to)
    local text = from:read()
    if not text or not to:write(garble(text)) then return end
    lh.pcall(lh.wait_for, function() pass_all(from, to) end, 0.02)
  end,
}

-- A conversation; how many of the texts came back.
local function converse(port)
  local stream, message = certificates.connect(port, { handshake_timeout = SECONDS })
  if not stream then
    assert.is_string(message)
    return 0
  end
  local back = 0
  for _, text in ipairs(TEXTS) do
    if not stream:write(text) then break end
    local got, why, _, part = stream:readexactly(#text)
    if not got then
      assert.is_string(why)
      assert.equal(text:sub(1, #(part or "")), part or "")
      break
    end
    assert.equal(text, got)
    back = back + 1
  end
  stream:close()
  stream:wait_closed()
  return back
end

-- Conversations through a relay that meddles after `cut`, cut + STEP, ... bytes in the one
-- direction, until one is over before that; how many, and how many of them were whole.
local function conversations(kind, is_upwards, cut)
  local server <close>, port = certificates.serve(function(stream)
    certificates.echo(stream)
    stream:wait_closed()
  end, { handshake_timeout = SECONDS })
  local was_cut
  local relay <close> = assert(lh.start_server(function(client)
    local upstream <close> = assert(lh.open_connection("127.0.0.1", port))
    local from, to = client, upstream
    if not is_upwards then from, to = to, from end
    local other = lh.create_task(pass_all, to, from)
    was_cut = pass_until(from, to, cut)
    if was_cut then
      KINDS[kind](from, to)
      other:cancel()
    else
      to:write_eof()
      lh.await(other)
    end
    client:close()
  end, "127.0.0.1", 0))
  local front = select(2, relay:getsockname())
  local cuts, whole = 0, 0
  repeat
    was_cut = false
    local back = lh.wait_for(function() return converse(front) end, SECONDS)
    if back == #TEXTS then whole = whole + 1 end
    cuts, cut = cuts + 1, cut + STEP
  until not was_cut
  relay:close()
  relay:wait_closed()
  server:close()
  server:wait_closed()
  return cuts, whole
end

describe("TLS through a relay", function()
  it("that does nothing to it is whole", support.in_real_task(function()
    assert.same({ 1, 1 }, { conversations("ends", true, 1 << 30) })
  end))

  for kind in pairs(KINDS) do
    for name, is_upwards in pairs { ["to the server"] = true, ["to the client"] = false } do
      it(("that %s what goes %s comes to an end at every cut #slow"):format(kind, name),
        support.in_real_task(function()
          conversations(kind, is_upwards, 1) -- what is made once is there
          local before, tasks = support.descriptors(), #lh.all_tasks()
          local cuts, whole = conversations(kind, is_upwards, 1)
          assert.is_true(cuts > 100, cuts .. " cuts")
          assert.is_true(whole >= 1 and whole < cuts / 2, whole .. " of " .. cuts)
          assert.equal(before, support.descriptors())
          assert.equal(tasks, #lh.all_tasks())
        end))
    end
  end
end)
