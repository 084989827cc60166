-- Claims a batch of different ids of one shard: one decision for each, all of them at once.
--
-- KEYS     for each group of ids (a group lies in one hash) the hashes of the generations
--          g-2, g-1, g and g+1, all with one hash tag
-- ARGV[1]  g, the caller's guess        ARGV[2]  window, ms
-- ARGV[3]  token, 8 bytes               ARGV[4]  lease, ms
-- ARGV[5]  ids, 16 bytes each           ARGV[6]  fingerprints, 8 bytes each
-- ARGV[7…] for each group how many ids it has
--
-- Out: a letter for each id, Redis' time in ms, and the values of the ids with the letter K, each
-- after a byte with its length. N new, M mine, S taken over: now in progress by this token.
-- K known: the caller reads from the value what it means. No letters: the guess was too far off.
local window = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 3 + math.floor(now / window) - tonumber(ARGV[1])
if at < 2 or at > 4 then return {'', now, ''} end

local token, ids, prints = ARGV[3], ARGV[5], ARGV[6]
local sub, byte = string.sub, string.byte
local held = token .. string.format('%d', now + tonumber(ARGV[4]))
local named = byte(token, 1) >= 128
local rank = {[80] = 0, [88] = 1, [68] = 2} -- P in progress < X dead-lettered < D done
local letters, values, known, first = {}, {}, 0, 0

for group = 0, #KEYS / 4 - 1 do
  local n, fields, set, k = tonumber(ARGV[7 + group]), {}, {}, 0
  for i = 1, n do fields[i] = sub(ids, (first + i) * 16 - 15, (first + i) * 16) end
  local current = KEYS[group * 4 + at]
  local newer = redis.call('HMGET', current, unpack(fields))
  local older = redis.call('HMGET', KEYS[group * 4 + at - 1], unpack(fields))
  for i = 1, n do
    local v, o, p = newer[i], older[i], first + i
    -- The later state stands, also where a late mark went into the older hash.
    if o and (not v or (rank[byte(o, 1)] or 3) > (rank[byte(v, 1)] or 3)) then v = o end
    local print, letter = sub(prints, p * 8 - 7, p * 8), 'N'
    if v then
      letter = 'K'
      if byte(v, 1) == 80 and sub(v, 2, 9) == print then
        local holder = sub(v, 10, 17)
        if holder == token then letter = 'M'
        elseif named and sub(holder, 1, 4) == sub(token, 1, 4) then letter = 'S'
        elseif tonumber(sub(v, 18)) <= now then letter = 'S' end
      end
    end
    letters[p] = letter
    if letter == 'K' then
      values[known + 1], values[known + 2] = string.char(#v), v
      known = known + 2
    else
      set[k + 1], set[k + 2] = fields[i], 'P' .. print .. held
      k = k + 2
    end
  end
  if k > 0 then
    redis.call('HSET', current, unpack(set))
    -- The backstop, where nobody clears the hash away.
    redis.call('PEXPIRE', current, 2 * window + 600000, 'NX')
  end
  first = first + n
end
return {table.concat(letters), now, table.concat(values)}
