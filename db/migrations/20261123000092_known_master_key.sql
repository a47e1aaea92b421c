-- migrate:up
-- By which master key the secrets are kept: a process that has another one must not start.
set local role neurant_owner;

create table private.master_key_print (
  is_there boolean primary key default true check (is_there),
  fingerprint text not null check (fingerprint ~ '^[0-9a-f]{64}$'),
  noted_at timestamptz not null default now()
);
comment on table private.master_key_print is
  'One row: an HMAC by the master key of the first process that had one. It opens nothing; it tells another key.';
alter table private.master_key_print enable row level security, force row level security;
create policy router_select on private.master_key_print for select to neurant_router using (true);
create policy router_insert on private.master_key_print for insert to neurant_router with check (true);
grant select, insert on private.master_key_print to neurant_router;

create function private.is_master_key(p_fingerprint text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  if not exists (select from private.master_key_print) then
    insert into private.master_key_print (fingerprint) values (p_fingerprint) on conflict do nothing;
  end if;
  return exists (select from private.master_key_print m where m.fingerprint = p_fingerprint);
end $$;
comment on function private.is_master_key(text) is
  'Whether this is the key that the secrets are kept by; the first one that asks is. Definer: a process is no company.';
grant execute on function private.is_master_key(text) to neurant_app, neurant_jobs;
alter function private.is_master_key(text) owner to neurant_router;

reset role;
-- migrate:down
