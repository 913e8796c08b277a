// A DHT node of npm's `bittorrent-dht` that takes the commands described in line_protocol.py.

import crypto from 'node:crypto'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const cache = process.env.OFFS_CACHE ?? join(homedir(), '.cache')
const library = join(cache, 'offs-interop', 'npm', 'node_modules', 'bittorrent-dht', 'index.js')
const { Client: DHT } = await import(pathToFileURL(library))

const COMMAND_MILLISECONDS = 28000
// What precedes the 32 raw bytes of an Ed25519 key in DER.
const SECRET_KEY_DER = Buffer.from('302e020100300506032b657004220420', 'hex')
const PUBLIC_KEY_DER = Buffer.from('302a300506032b6570032100', 'hex')

function secretKey (seed) {
  return crypto.createPrivateKey({ key: Buffer.concat([SECRET_KEY_DER, seed]), format: 'der', type: 'pkcs8' })
}

function publicBytes (secret) {
  return crypto.createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(PUBLIC_KEY_DER.length)
}

function verify (signature, message, key) {
  try {
    const publicKey = crypto.createPublicKey({
      key: Buffer.concat([PUBLIC_KEY_DER, key]), format: 'der', type: 'spki'
    })
    return crypto.verify(null, message, publicKey, signature)
  } catch {
    return false // not a key
  }
}

function text (value) {
  if (!(value instanceof Uint8Array)) throw new Error('the value is not a byte string')
  return Buffer.from(value).toString()
}

// The target of a mutable value, and the salt as the library wants it: absent when empty.
function mutableTarget (key, salt) {
  return crypto.createHash('sha1').update(key).update(salt).digest()
}

function saltOption (salt) {
  return salt ? { salt: Buffer.from(salt) } : {}
}

// Calls a method of the node that reports to a callback.
function call (method, ...args) {
  return new Promise((resolve, reject) => {
    dht[method](...args, (error, result) => error ? reject(error) : resolve(result))
  })
}

const commands = {
  async announce ({ info_hash: infoHash, port }) {
    await call('announce', infoHash, port)
    return {}
  },

  async get_peers ({ info_hash: infoHash }) {
    const peers = new Set()
    const collect = (peer, from) => {
      if (from.toString('hex') === infoHash.toLowerCase()) peers.add(`${peer.host}:${peer.port}`)
    }
    dht.on('peer', collect)
    try {
      await call('lookup', infoHash)
    } finally {
      dht.off('peer', collect)
    }
    return { peers: [...peers].sort() }
  },

  async put_immutable ({ value }) {
    const target = await call('put', { v: Buffer.from(value) })
    return { target: target.toString('hex') }
  },

  async get_immutable ({ target }) {
    const found = await call('get', target)
    return { value: found && text(found.v) }
  },

  async put_mutable ({ seed, salt, seq, value }) {
    const secret = secretKey(Buffer.from(seed, 'hex'))
    const k = publicBytes(secret)
    const sign = message => crypto.sign(null, message, secret)
    const target = await call('put', { k, seq, v: Buffer.from(value), sign, ...saltOption(salt) })
    return { key: k.toString('hex'), target: target.toString('hex') }
  },

  async get_mutable ({ key, salt }) {
    const found = await call('get', mutableTarget(Buffer.from(key, 'hex'), salt), saltOption(salt))
    return { value: found && text(found.v), seq: found && found.seq }
  },

  async nodes () {
    return { nodes: dht.nodes.count() }
  }
}

async function answer (line) {
  let timer
  try {
    const { cmd, ...args } = JSON.parse(line)
    if (!Object.hasOwn(commands, cmd)) throw new Error('unsupported')
    const late = new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error('timed out')), COMMAND_MILLISECONDS)
    })
    return { ok: true, ...await Promise.race([commands[cmd](args), late]) }
  } catch (error) {
    return { ok: false, error: error.message }
  } finally {
    clearTimeout(timer)
  }
}

function print (object) {
  process.stdout.write(JSON.stringify(object) + '\n')
}

const { values: options } = parseArgs({
  options: {
    listen: { type: 'string' },
    bootstrap: { type: 'string', multiple: true, default: [] }
  }
})
const [host, port] = options.listen.split(':')
// Without the option `host`, by which the library would list its own announces as found.
const dht = new DHT({ verify, bootstrap: options.bootstrap.length ? options.bootstrap : false })
dht.on('error', error => {
  console.error(error)
  process.exit(1)
})
const ready = new Promise(resolve => dht.once('ready', resolve))
await new Promise(resolve => dht.listen(Number(port), host, resolve))
await ready
print({ ready: true, address: `${host}:${dht.address().port}` })
for await (const line of createInterface({ input: process.stdin })) print(await answer(line))
process.exit(0)
