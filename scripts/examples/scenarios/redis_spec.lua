-- BUG=redis is found by: an error among the replies leaves the connection in order

local lh = require "loophost"
local testing = require "loophost.testing"
local connect = require "scripts.examples.scenarios.redis"

local scenario = testing.scenario

describe("redis client", function()
  local folder

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir -m 700 " .. folder))
  end)

  after_each(function() os.execute("rm -rf " .. folder) end)

  -- A client of a real server, which ends with the scenario.
  local function redis()
    local path = folder .. "/socket"
    testing.spawn_server({
      "redis-server", "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder,
    }, { path = path })
    return connect(path)
  end

  scenario("gets the replies of a pipeline in order", {}, function()
    local client <close> = redis()
    local commands = { { "SET", "n", 0 } }
    for i = 1, 1000 do commands[i + 1] = { "INCR", "n" } end
    local replies = client:pipeline(commands)
    assert.equal("OK", replies[1])
    for i = 1, 1000 do assert.equal(i, replies[i + 1]) end
    assert.equal("1000", client:call("GET", "n"))
  end)

  scenario("an error among the replies leaves the connection in order", {}, function()
    local client <close> = redis()
    local ok, err = pcall(client.pipeline, client, {
      { "SET", "text", "x" }, { "INCR", "text" }, { "SET", "after", "y" },
    })
    assert.is_false(ok)
    assert.truthy(err:find("not an integer", 1, true))
    assert.equal("y", client:call("GET", "after"))
  end)

  scenario("a key expires by the server's clock, not by ours", {}, function()
    local client <close> = redis()
    client:call("SET", "key", "value", "EX", 1000)
    lh.sleep(900)
    assert.equal("value", client:call("GET", "key"))
    assert.truthy(client:call("TTL", "key") > 900)
  end)
end)
