-- migrate:up
-- A denial names what was attempted.
set local role neurant_owner;

drop function private.note_denied(text, text);

create function private.note_denied(
  p_permission text, p_operation text, p_resource uuid default null) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.read');
begin
  if v_company is not null then
    perform private.write_audit(v_company, 'denied', 'permissions', p_resource,
      jsonb_strip_nulls(jsonb_build_object(
        'permission', p_permission, 'operation', left(p_operation, 200))));
  end if;
end $$;
comment on function private.note_denied(text, text, uuid) is
  'What somebody was not allowed to do, and with which thing, for audit. Definer: nobody writes audit by hand.';

grant execute on function private.note_denied(text, text, uuid) to authenticated;
alter function private.note_denied(text, text, uuid) owner to neurant_router;
reset role;
-- migrate:down
