-- migrate:up
-- What the caller may do, asked once for each page: in one look instead of one for each permission.
set local role neurant_router;

create or replace function private.my_permissions() returns setof text
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
  'What the caller may do at this moment: the names for which company_id(name) answers. Definer, as company_id().';

reset role;
-- migrate:down
