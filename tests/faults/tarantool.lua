-- The tarantool of the fault campaign: one space for what its checked client writes, open to guests.
box.cfg{
	listen = '0.0.0.0:3301', wal_mode = 'none', checkpoint_interval = 0,
	memtx_memory = 64 * 1024 * 1024, wal_dir = '/srv', memtx_dir = '/srv', vinyl_dir = '/srv',
	log = '/srv/tarantool.log',
}
local kv = box.schema.space.create('kv', {id = 512})
kv:create_index('primary', {parts = {1, 'string'}})
box.schema.user.grant('guest', 'read,write', 'space', 'kv')
