-- Permissions: what each role may do, and which scopes an API key may have.

create table public.permissions (
  name text primary key check (name ~ '^[a-z_]+\.[a-z_]+$'),
  position smallint not null unique,
  owner text not null,
  administrador text not null,
  supervisor text not null,
  operador text not null,
  is_read boolean not null,
  is_narrowable boolean not null default true,
  for_keys text not null default 'by_scope' check (for_keys in ('always', 'by_scope', 'never')),
  check (array[owner, administrador, supervisor, operador]
    <@ '{all,below,juniors,colleagues,bots,own,self,none}'),
  check (operador = 'none' or supervisor <> 'none'),
  check (supervisor = 'none' or administrador <> 'none'),
  check (administrador = 'none' or owner <> 'none')
);
comment on table public.permissions is
  'Platform table: the only source of permissions. Every policy for staff, and every definer that staff call, names one of its rows; the API and the permissions page show it.';
comment on column public.permissions.operador is
  'The scope in which the role has the permission: all (the whole company), below (people of lower roles), juniors (supervisors and operadores), colleagues (people who serve the same bots), bots (assigned bots and the rows that belong to them), own, self, or none. The columns of the other roles use the same words.';
comment on column public.permissions.is_read is
  'Whether the permission changes nothing, so that it also holds in a company that is closed or has not paid.';
comment on column public.permissions.is_narrowable is
  'Whether the permission can be taken away from a single person.';

alter table public.permissions enable row level security, force row level security;
create policy everybody_select on public.permissions for select
  to authenticated, neurant_worker, neurant_router using (true);
grant select on public.permissions to authenticated, neurant_worker, neurant_router;

create function private.permits(
  p public.permissions, p_role public.user_role_enum, p_denied jsonb,
  p_status public.subscription_status_enum)
returns boolean
language sql immutable set search_path = '' as $$
  select 'none' <> case p_role
      when 'owner' then (p).owner
      when 'administrador' then (p).administrador
      when 'supervisor' then (p).supervisor
      else (p).operador end
    and not p_denied ? (p).name
    and ((p).is_read or p_status in ('active', 'trialing', 'past_due'))
$$;
comment on function private.permits(public.permissions, public.user_role_enum, jsonb, public.subscription_status_enum) is
  'Returns whether a role has a permission, given the permissions denied to the person and the status of the company. The policies decide its scope.';
grant execute on function private.permits(public.permissions, public.user_role_enum, jsonb,
  public.subscription_status_enum) to neurant_router;

create function private.check_key_scopes() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if exists (
    select from unnest(new.scopes) as s (name)
    where s.name not in (select p.name from public.permissions p where p.for_keys = 'by_scope')
  ) then
    raise exception 'a scope is a permission that keys may have' using errcode = 'check_violation',
      column = 'scopes';
  end if;
  return new;
end $$;
comment on function private.check_key_scopes() is
  'Refuses an API key with a scope that keys may not have. Security definer, called by a trigger, because the rule must see every permission, whoever creates the key.';

create function private.my_permissions() returns setof text
language sql stable security definer set search_path = '' as $$
  with caller as (
    select u.role, u.permissions as denied, c.subscription_status, null::text[] as scopes
    from public.users u
    join public.companies c on c.id = u.company_id
    where private.claims() ->> 'key_id' is null
      and u.company_id = (private.claims() ->> 'company_id')::uuid
      and u.auth_user_id = (private.claims() ->> 'sub')::uuid
      and u.is_active
    union all
    select greatest(k.role, maker.role), maker.permissions, c.subscription_status, k.scopes
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    join public.companies c on c.id = k.company_id
    where k.company_id = (private.claims() ->> 'company_id')::uuid
      and k.id = (private.claims() ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active
  )
  select p.name
  from caller
  cross join public.permissions p
  where current_setting('role') = 'authenticated'
    and (caller.scopes is null or p.for_keys = 'always'
      or p.for_keys = 'by_scope' and p.name = any (caller.scopes))
    and private.permits(p, caller.role, caller.denied, caller.subscription_status)
  order by p.position
$$;
comment on function private.my_permissions() is
  'Returns the names of the permissions that the caller has now: those for which company_id(name) is not null. Security definer, called by staff and API keys, because it reads users, keys and companies that the caller may not read.';
grant execute on function private.my_permissions() to authenticated;
