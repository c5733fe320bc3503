-- BUG=jobs is found by: ends although jobs have failed, and says which

local lh = require "loophost"
local testing = require "loophost.testing"
local new_jobs = require "scripts.examples.scenarios.jobs"

local scenario = testing.scenario

describe("job queue", function()
  scenario("does every job before it ends, several at a time", {}, function()
    local loop, done = lh.get_running_loop(), 0
    local began = loop:time()
    local jobs = new_jobs(4, 10)
    for _ = 1, 40 do
      jobs:add(function()
        lh.sleep(1)
        done = done + 1
      end)
    end
    assert.same({}, jobs:shutdown())
    assert.equal(40, done)
    assert.equal(10.0, loop:time() - began)
  end)

  scenario("takes no jobs while it ends", {}, function()
    local jobs = new_jobs(1, 10)
    jobs:add(function() lh.sleep(5) end)
    local ending = lh.create_task(jobs.shutdown, jobs)
    lh.sleep(1)
    assert.has_error(function() jobs:add(print) end)
    lh.await(ending)
  end)

  scenario("ends although jobs have failed, and says which", {}, function()
    local jobs = new_jobs(2, 10)
    for i = 1, 6 do
      jobs:add(function()
        lh.sleep(i)
        if i % 2 == 0 then error("job " .. i, 0) end
      end)
    end
    assert.same({ "job 2", "job 4", "job 6" }, jobs:shutdown())
  end)
end)
